//! The loop: whenever a Gateway of a class of ours, its class, something that was made for it or what is served of it
//! changes, all are brought in line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::drain::Drain;
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex, watch};
use tokio_stream::wrappers::WatchStream;

use super::class::{self, Classes};
use super::status::Progress;
use super::{GATEWAY_CLASS_NAME, MANAGED_BY, MANAGER, ingress, mesh, tell};
use crate::engine::Snapshot;
use crate::leader::Leadership;
use crate::model::NsName;
use crate::source::Seen;

/// After a failure.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Without any event, so that a new root certificate gets around.
pub(super) const REFRESH: Duration = Duration::from_secs(60);
/// Changes that come together are taken together.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(200);

/// How waypoints and gateways are deployed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of both.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// Our own namespace.
    pub namespace: String,
    /// The name of our own Service in it.
    pub service: String,
    /// The port of it where instances connect.
    pub port: u16,
}

/// What is heard of the engine.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What is served.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// How far the source was read for it.
    pub seen: watch::Receiver<Seen>,
}

/// Deploys waypoints and gateways while this replica leads.
pub struct Deployer {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) heard: Heard,
}

/// What is known while this replica leads, and no longer.
pub(super) struct Term {
    pub(super) deployer: Arc<Deployer>,
    pub(super) classes: Classes,
    /// Has all brought in line again.
    pub(super) again: watch::Sender<()>,
    /// How far each gateway has come. Held while a status is written: one at a time.
    pub(super) progress: Mutex<BTreeMap<NsName, Progress>>,
}

impl std::fmt::Debug for Deployer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Deployer {
    /// What is deployed, how the API server is reached, and what statuses are told from.
    #[must_use]
    pub fn new(client: Client, settings: Settings, heard: Heard) -> Self {
        Self {
            client,
            settings,
            heard,
        }
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
            tracing::info!("deploying waypoints and gateways");
            tokio::select! {
                () = lead(Arc::clone(&this)) => {}
                () = leadership.lost() => {}
                () = drain.signaled() => return,
            }
        }
    }
}

/// The Gateways' resource.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        "Gateway",
    ))
}

async fn lead(deployer: Arc<Deployer>) {
    let client = deployer.client.clone();
    let resource = class::resource();
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let controller = Controller::new_with(all, watcher::Config::default(), resource);
    let (changed, changes) = watch::channel(());
    let ingresses = ingress::follow(Arc::clone(&deployer));
    let term = Arc::new(Term {
        deployer,
        classes: Classes::new(controller.store()),
        again: changed.clone(),
        progress: Mutex::default(),
    });
    tokio::select! {
        () = mesh::follow(client.clone()) => {}
        () = classes(controller, client, changed) => {}
        () = gateways(term, changes) => {}
        () = ingresses => {}
    }
}

/// Bring Gateways in line, all of them when a class of ours has changed.
async fn gateways(term: Arc<Term>, changes: watch::Receiver<()>) {
    let client = term.deployer.client.clone();
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let made = || {
        let labels = format!("{MANAGED_BY}={MANAGER},{GATEWAY_CLASS_NAME}");
        watcher::Config::default().labels(&labels)
    };
    let config = Config::default().debounce(DEBOUNCE).concurrency(4);
    let controller = Controller::new_with(all, watcher::Config::default(), resource())
        .with_config(config)
        .owns(Api::<Deployment>::all(client.clone()), made())
        .owns(Api::<Service>::all(client.clone()), made())
        .owns(Api::<ServiceAccount>::all(client.clone()), made())
        .owns(Api::<PodDisruptionBudget>::all(client), made())
        .reconcile_all_on(WatchStream::from_changes(changes));
    let store = controller.store();
    let following = tell::follow(Arc::clone(&term), store);
    let bringing = controller
        .run(
            |object, term| async move { term.reconcile(&object).await },
            |object, error, _| {
                let gateway = format!(
                    "{}/{}",
                    object.namespace().unwrap_or_default(),
                    object.name_any()
                );
                tracing::warn!(gateway, %error, "a Gateway could not be brought in line");
                Action::requeue(RETRY)
            },
            term,
        )
        .for_each(|_outcome| std::future::ready(()));
    tokio::select! {
        () = bringing => {}
        () = following => {}
    }
}

/// Say of classes of ours that they are known, and tell of their changes.
async fn classes(
    controller: Controller<DynamicObject>,
    client: Client,
    changed: watch::Sender<()>,
) {
    controller
        .run(
            |object, context| async move {
                let (client, changed): &(Client, watch::Sender<()>) = &context;
                if let Some(role) = class::ours(&object) {
                    class::reconcile(client, &object, role).await?;
                    changed.send_replace(());
                }
                Ok::<_, kube::Error>(Action::await_change())
            },
            |_object, error, _| {
                tracing::warn!(%error, "the GatewayClass could not be accepted");
                Action::requeue(RETRY)
            },
            Arc::new((client, changed)),
        )
        .for_each(|_outcome| std::future::ready(()))
        .await;
}
