//! The loop: whenever a Gateway of our class or something that was made for it changes, both are brought in line.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::drain::Drain;
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value, json};

use super::apply::{ApplyError, Owner, apply};
use super::gateway::{self, Refused, Wanted};
use super::status::{self, Progress};
use super::{CLASS, Common, GATEWAY_CLASS_NAME, ROOT, class, objects};
use crate::authority;
use crate::leader::Leadership;
use crate::model::NsName;
use crate::status::kube::Ledger;
use crate::world::Wishes;

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Without any event, so that a new root certificate gets around.
const REFRESH: Duration = Duration::from_secs(60);
/// Changes that come together are taken together.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// How waypoints are deployed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The waypoint's image.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// Our own namespace.
    pub namespace: String,
    /// The name of our own Service in it.
    pub service: String,
    /// The port of it where waypoints connect.
    pub port: u16,
}

/// Deploys waypoints while this replica leads.
pub struct Deployer {
    client: Client,
    settings: Settings,
}

/// Why a Gateway was not brought in line.
#[derive(Debug, thiserror::Error)]
enum DeployError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{0}: {1}")]
    Api(&'static str, kube::Error),
    #[error("Service {0} has no cluster IP yet")]
    NoController(String),
}

impl std::fmt::Debug for Deployer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Deployer {
    /// What is deployed, and how the API server is reached.
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings }
    }

    /// Deploy until the drain, whenever this replica leads.
    pub async fn run(self, mut leadership: Leadership, drain: Drain) {
        let this = Arc::new(self);
        loop {
            let gained = tokio::select! {
                gained = leadership.gained() => gained,
                () = drain.signaled() => return,
            };
            if !gained {
                return;
            }
            tracing::info!("deploying waypoints");
            tokio::select! {
                () = gateways(Arc::clone(&this)) => {}
                () = classes(this.client.clone()) => {}
                () = leadership.lost() => {}
                () = drain.signaled() => return,
            }
        }
    }

    async fn reconcile(&self, object: &DynamicObject) -> Result<Action, DeployError> {
        let ours = gateway::is_ours(object) && object.metadata.deletion_timestamp.is_none();
        if !ours {
            return Ok(Action::await_change());
        }
        let progress = match gateway::read(object) {
            Err(refused) => Progress::Refused(refused),
            Ok(wanted) => {
                let progress = self.deploy(&wanted).await?;
                if progress.is_ready() {
                    self.remember(object, &wanted).await?;
                }
                progress
            }
        };
        self.tell(object, &progress).await?;
        Ok(Action::requeue(match progress {
            Progress::Conflict(_) => RETRY,
            _ => REFRESH,
        }))
    }

    async fn deploy(&self, wanted: &Wanted) -> Result<Progress, DeployError> {
        let common = self.common().await?;
        self.copy_root(wanted).await?;
        let mut made = Vec::new();
        for object in objects::of(wanted, &common) {
            match apply(&self.client, &object, Owner::Gateway(&wanted.uid)).await {
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
        let addresses = of("Service").and_then(|s| s.pointer("/spec/clusterIPs")?.as_array());
        let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
        Ok(Progress::Deployed {
            addresses: addresses
                .filter(|ip| *ip != "None")
                .map(str::to_owned)
                .collect(),
            ready: number("/status/readyReplicas"),
            replicas: number("/spec/replicas"),
        })
    }

    /// Before its Gateway says for the first time that it is programmed, it is written where it outlives the Gateway.
    async fn remember(&self, object: &DynamicObject, wanted: &Wanted) -> Result<(), DeployError> {
        if object
            .data
            .get("status")
            .is_some_and(status::was_programmed)
        {
            return Ok(());
        }
        let name = NsName::new(wanted.namespace.as_str(), wanted.name.as_str());
        let wishes = Wishes {
            keep: [(name, wanted.purpose)].into(),
            ..Wishes::default()
        };
        let ledger = Ledger::new(&self.client, &self.settings.namespace);
        let written = ledger.write(&wishes).await;
        written.map_err(|error| DeployError::Api("the ledger of waypoints", error))
    }

    /// What waypoints are told of us.
    async fn common(&self) -> Result<Common, DeployError> {
        let Settings {
            namespace, service, ..
        } = &self.settings;
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let object = services
            .get_opt(service)
            .await
            .map_err(|error| DeployError::Api("our own Service", error))?;
        let ip = object.and_then(|o| o.spec?.cluster_ip?.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| DeployError::NoController(format!("{namespace}/{service}")))?;
        Ok(Common {
            image: self.settings.image.clone(),
            pull_policy: self.settings.pull_policy.clone(),
            controller: SocketAddr::new(ip, self.settings.port),
        })
    }

    /// The root certificate goes where waypoints can mount it. Until there is one they wait.
    async fn copy_root(&self, wanted: &Wanted) -> Result<(), DeployError> {
        if wanted.namespace == self.settings.namespace {
            return Ok(());
        }
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let root = maps
            .get_opt(ROOT)
            .await
            .map_err(|error| DeployError::Api("the root's ConfigMap", error))?;
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
            Api::namespaced_with(self.client.clone(), &wanted.namespace, &resource());
        let all = api
            .list(&ListParams::default())
            .await
            .map_err(|error| DeployError::Api("Gateways", error))?;
        let live = all
            .items
            .iter()
            .filter(|g| gateway::is_ours(g) && g.metadata.deletion_timestamp.is_none());
        let mut owners: Vec<_> = live
            .map(|g| (g.name_any(), g.uid().unwrap_or_default()))
            .collect();
        owners.sort();
        let object = objects::root(&wanted.namespace, &owners, &data);
        apply(&self.client, &object, Owner::Shared).await?;
        Ok(())
    }

    /// Write the Gateway's status, if it says something else.
    async fn tell(&self, object: &DynamicObject, progress: &Progress) -> Result<(), DeployError> {
        let before = object.data.get("status");
        let now = status::now();
        let listeners = gateway::listeners(object);
        let generation = object.metadata.generation;
        let status = status::of(generation, before, &listeners, progress, &now);
        let same = |key: &str| before.is_some_and(|before| before.get(key) == status.get(key));
        if ["addresses", "conditions", "listeners"]
            .into_iter()
            .all(same)
        {
            return Ok(());
        }
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &resource());
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(&object.name_any(), &PatchParams::default(), &patch)
            .await
            .map_err(|error| DeployError::Api("the Gateway's status", error))?;
        if let Progress::Refused(Refused(_, message)) | Progress::Conflict(message) = progress {
            tracing::warn!(gateway = %format_args!("{namespace}/{}", object.name_any()), message, "not deployed");
        }
        Ok(())
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        "Gateway",
    ))
}

async fn gateways(deployer: Arc<Deployer>) {
    let client = deployer.client.clone();
    let gateways: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let made = || watcher::Config::default().labels(&format!("{GATEWAY_CLASS_NAME}={CLASS}"));
    let config = Config::default().debounce(DEBOUNCE).concurrency(4);
    Controller::new_with(gateways, watcher::Config::default(), resource())
        .with_config(config)
        .owns(Api::<Deployment>::all(client.clone()), made())
        .owns(Api::<Service>::all(client.clone()), made())
        .owns(Api::<ServiceAccount>::all(client.clone()), made())
        .owns(Api::<PodDisruptionBudget>::all(client), made())
        .run(
            |object, deployer| async move { deployer.reconcile(&object).await },
            |object, error, _| {
                let gateway = format!(
                    "{}/{}",
                    object.namespace().unwrap_or_default(),
                    object.name_any()
                );
                tracing::warn!(gateway, %error, "a waypoint could not be brought in line");
                Action::requeue(RETRY)
            },
            deployer,
        )
        .for_each(|_outcome| std::future::ready(()))
        .await;
}

async fn classes(client: Client) {
    let resource = class::resource();
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    Controller::new_with(all, watcher::Config::default(), resource)
        .run(
            |object, client| async move {
                class::reconcile(&client, &object).await?;
                Ok::<_, kube::Error>(Action::await_change())
            },
            |_object, error, _| {
                tracing::warn!(%error, "the GatewayClass could not be accepted");
                Action::requeue(RETRY)
            },
            Arc::new(client),
        )
        .for_each(|_outcome| std::future::ready(()))
        .await;
}
