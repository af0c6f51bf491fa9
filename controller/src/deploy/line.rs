//! One Gateway and what was made for it, brought in line.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Service};
use kube::api::{DynamicObject, ListParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::{Map, Value};

use super::apply::{ApplyError, Owner, apply};
use super::exposure::{self, ServiceType};
use super::gateway::{self, Takes, Wanted};
use super::requested;
use super::run::{REFRESH, RETRY, Settings, Term, resource};
use super::status::{self, Progress};
use super::{Common, ROOT, objects};
use crate::authority;
use crate::model::{NsName, Purpose};
use crate::status::kube::Ledger;
use crate::world::Wishes;

/// Why a Gateway was not brought in line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{0}: {1}")]
    Api(&'static str, kube::Error),
    #[error("Service {0} has no cluster IP yet")]
    NoController(String),
    #[error("what is served is older than the Gateway")]
    Behind,
    #[error("the Gateway's status could not be written in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl Term {
    /// Bring a Gateway in line, if it is ours.
    pub(super) async fn reconcile(&self, object: &DynamicObject) -> Result<Action, LineError> {
        let live = object.metadata.deletion_timestamp.is_none();
        let Some(role) = self.classes.role(object).filter(|_| live) else {
            return Ok(Action::await_change());
        };
        let progress = match gateway::read(object, role) {
            Err(refused) => Progress::Refused(refused),
            Ok(mut wanted) => {
                self.add_sets(&mut wanted);
                let progress = self.deploy(&wanted).await?;
                if let Takes::Hbone(purpose) = wanted.takes
                    && progress.is_ready()
                {
                    self.remember(object, &wanted, purpose).await?;
                }
                progress
            }
        };
        let again = match progress {
            Progress::Conflict(_) => RETRY,
            _ => REFRESH,
        };
        self.tell(object, role, progress).await?;
        Ok(Action::requeue(again))
    }

    async fn deploy(&self, wanted: &Wanted) -> Result<Progress, LineError> {
        let common = self.common().await?;
        self.copy_root(wanted).await?;
        let client = &self.deployer.client;
        let mut made = Vec::new();
        for object in objects::of(wanted, &common) {
            match apply(client, &object, Owner::Gateway(&wanted.uid)).await {
                Ok(object) => made.push(object),
                Err(foreign @ (ApplyError::Foreign { .. } | ApplyError::Earlier { .. })) => {
                    return Ok(Progress::Conflict(foreign.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let of = |kind: &str| {
            let found = made
                .iter()
                .find(|o| o.types.as_ref().is_some_and(|t| t.kind == kind));
            found.map(|object| &object.data)
        };
        let number = |pointer: &str| {
            let number = of("Deployment").and_then(|d| d.pointer(pointer)?.as_i64());
            i32::try_from(number.unwrap_or_default()).unwrap_or_default()
        };
        let nodes = match &wanted.takes {
            Takes::Listeners(exposure) if exposure.service == ServiceType::NodePort => {
                self.nodes().await?
            }
            _ => Vec::new(),
        };
        let addresses = of("Service").map(|service| exposure::addresses(service, &nodes));
        let addresses = addresses.unwrap_or_default();
        let missing = match &wanted.takes {
            Takes::Listeners(exposure) => requested::missing(&exposure.requested, &addresses),
            Takes::Hbone(_) => Vec::new(),
        };
        Ok(Progress::Deployed {
            addresses,
            missing,
            ready: number("/status/readyReplicas"),
            replicas: number("/spec/replicas"),
        })
    }

    /// Ports of the ListenerSets that it has by now. When that differs, all are brought in line again.
    fn add_sets(&self, wanted: &mut Wanted) {
        let Takes::Listeners(exposure) = &mut wanted.takes else {
            return;
        };
        let name = NsName::new(wanted.namespace.as_str(), wanted.name.as_str());
        let snapshot = self.deployer.heard.snapshots.borrow();
        if let Some(state) = snapshot.gateways.get(&name) {
            exposure.ports.extend(&state.set_ports);
        }
    }

    async fn nodes(&self) -> Result<Vec<Node>, LineError> {
        let nodes: Api<Node> = Api::all(self.deployer.client.clone());
        let list = nodes.list(&ListParams::default()).await;
        let list = list.map_err(|error| LineError::Api("Nodes", error))?;
        Ok(list.items)
    }

    /// Before a waypoint's Gateway says for the first time that it is programmed, it is written where it outlives the
    /// Gateway.
    async fn remember(
        &self,
        object: &DynamicObject,
        wanted: &Wanted,
        purpose: Purpose,
    ) -> Result<(), LineError> {
        if object
            .data
            .get("status")
            .is_some_and(status::was_programmed)
        {
            return Ok(());
        }
        let name = NsName::new(wanted.namespace.as_str(), wanted.name.as_str());
        let wishes = Wishes {
            keep: [(name, purpose)].into(),
            ..Wishes::default()
        };
        let ledger = Ledger::new(&self.deployer.client, &self.deployer.settings.namespace);
        let written = ledger.write(&wishes).await;
        written.map_err(|error| LineError::Api("the ledger of waypoints", error))
    }

    /// What instances are told of us.
    async fn common(&self) -> Result<Common, LineError> {
        let Settings {
            namespace,
            service,
            image,
            pull_policy,
            port,
        } = &self.deployer.settings;
        let services: Api<Service> = Api::namespaced(self.deployer.client.clone(), namespace);
        let object = services
            .get_opt(service)
            .await
            .map_err(|error| LineError::Api("our own Service", error))?;
        let ip = object.and_then(|o| o.spec?.cluster_ip?.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| LineError::NoController(format!("{namespace}/{service}")))?;
        Ok(Common {
            image: image.clone(),
            pull_policy: pull_policy.clone(),
            controller: SocketAddr::new(ip, *port),
        })
    }

    /// The root certificate goes where instances can mount it. Until there is one they wait.
    async fn copy_root(&self, wanted: &Wanted) -> Result<(), LineError> {
        let (client, own) = (&self.deployer.client, &self.deployer.settings.namespace);
        if wanted.namespace == *own {
            return Ok(());
        }
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), own);
        let root = maps
            .get_opt(ROOT)
            .await
            .map_err(|error| LineError::Api("the root's ConfigMap", error))?;
        let Some(data) = root.and_then(|root| root.data) else {
            tracing::warn!("there is no root certificate to copy yet");
            return Ok(());
        };
        let data: Map<String, Value> = data
            .into_iter()
            .filter(|(key, _)| key == authority::ROOTS.1)
            .map(|(key, text)| (key, text.into()))
            .collect();
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &wanted.namespace, &resource());
        let all = api
            .list(&ListParams::default())
            .await
            .map_err(|error| LineError::Api("Gateways", error))?;
        let ours = |g: &&DynamicObject| {
            g.metadata.deletion_timestamp.is_none() && self.classes.role(g).is_some()
        };
        let live = all.items.iter().filter(ours);
        let mut owners: Vec<_> = live
            .map(|g| (g.name_any(), g.uid().unwrap_or_default()))
            .collect();
        owners.sort();
        let object = objects::root(&wanted.namespace, &owners, &data);
        apply(client, &object, Owner::Shared).await?;
        Ok(())
    }
}
