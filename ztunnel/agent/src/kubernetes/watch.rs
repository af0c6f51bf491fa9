//! Follows what the Kubernetes API tells.
//!
//! Invariant: an API that is away or refuses is asked again, ever more seldom, and changes nothing meanwhile.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use culvert_enrolment::keys;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::cache::Kind;
use super::facts::Facts;
use super::node::Node;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The MeshConfig that counts.
const SETTINGS: &str = "default";

/// Follow the pods of the node `name`.
pub(super) async fn pods(client: Client, name: String, node: Node) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={name}"));
    let mut listed = Vec::new();
    let apply = |event: Event<Pod>| match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => {
            if let Some(facts) = Facts::of(&pod) {
                listed.push(facts);
            }
        }
        Event::InitDone => {
            let listed = std::mem::take(&mut listed);
            node.change(|cache| {
                let uids: Vec<String> = listed.iter().map(|facts| facts.uid.clone()).collect();
                listed.into_iter().for_each(|facts| cache.put(facts));
                cache.synced(Kind::Pods);
                cache.retain(&uids)
            });
        }
        Event::Apply(pod) => {
            if let Some(facts) = Facts::of(&pod) {
                node.change(|cache| {
                    cache.put(facts);
                    Vec::new()
                });
            }
        }
        Event::Delete(pod) => {
            let uid = pod.uid().unwrap_or_default();
            node.change(|cache| cache.remove(&uid).into_iter().collect());
        }
    };
    follow("pods", Api::<Pod>::all(client), config, apply, || ()).await;
}

/// Follow which namespaces ask for the mesh.
pub(super) async fn namespaces(client: Client, node: Node) {
    type Meta = PartialObjectMeta<Namespace>;
    let put = |namespace: &Meta| {
        let mode = namespace.labels().get(keys::DATAPLANE_MODE).cloned();
        let name = namespace.name_any();
        node.change(|cache| {
            cache.put_namespace(name, mode);
            Vec::new()
        });
    };
    let mut listed = Vec::new();
    let apply = |event: Event<Meta>| match event {
        Event::Init => listed.clear(),
        Event::InitApply(namespace) => {
            put(&namespace);
            listed.push(namespace.name_any());
        }
        Event::InitDone => node.change(|cache| {
            cache.retain_namespaces(&listed);
            cache.synced(Kind::Namespaces);
            Vec::new()
        }),
        Event::Apply(namespace) => put(&namespace),
        Event::Delete(namespace) => node.change(|cache| {
            cache.remove_namespace(&namespace.name_any());
            Vec::new()
        }),
    };
    let api = Api::<Meta>::all(client);
    follow("namespaces", api, watcher::Config::default(), apply, || ()).await;
}

/// Follow the MeshConfig. A cluster without its kind has none.
pub(super) async fn settings(client: Client, node: Node) {
    let kind = GroupVersionKind::gvk("culvert.dev", "v1alpha1", "MeshConfig");
    let kind = ApiResource::from_gvk_with_plural(&kind, "meshconfigs");
    let set = |forbidden: bool| {
        node.change(|cache| {
            cache.forbid_exclusions(forbidden);
            cache.synced(Kind::Settings);
            Vec::new()
        });
    };
    let forbids = |object: &DynamicObject| {
        object
            .data
            .pointer("/spec/captureExclusions")
            .and_then(|value| value.as_str())
            == Some("Forbidden")
    };
    let mut found = false;
    let apply = |event: Event<DynamicObject>| match event {
        Event::Init => found = false,
        Event::InitApply(object) => found = forbids(&object),
        Event::InitDone => set(found),
        Event::Apply(object) => set(forbids(&object)),
        Event::Delete(_) => set(false),
    };
    let api = Api::<DynamicObject>::all_with(client, &kind);
    let config = watcher::Config::default().fields(&format!("metadata.name={SETTINGS}"));
    follow("meshconfigs", api, config, apply, || set(false)).await;
}

/// Follow one ConfigMap; `told` hears what is in it, or that there is none.
pub(super) async fn config_map(
    client: Client,
    namespace: &str,
    name: &str,
    told: impl Fn(Option<&ConfigMap>),
) {
    let mut found = false;
    let apply = |event: Event<ConfigMap>| match event {
        Event::Init => found = false,
        Event::InitApply(map) => {
            found = true;
            told(Some(&map));
        }
        Event::InitDone if !found => told(None),
        Event::InitDone => {}
        Event::Apply(map) => told(Some(&map)),
        Event::Delete(_) => told(None),
    };
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    follow(name, api, config, apply, || ()).await;
}

/// For ever. `absent` is called when the API does not know the kind.
async fn follow<K>(
    what: &str,
    api: Api<K>,
    config: watcher::Config,
    mut apply: impl FnMut(Event<K>),
    absent: impl Fn(),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = pin!(watcher::watcher(api, config));
    let mut pause = FIRST_PAUSE;
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                // Init comes before anything was asked.
                if pause > FIRST_PAUSE && !matches!(event, Event::Init) {
                    tracing::info!(what, "the API answers again");
                    pause = FIRST_PAUSE;
                }
                apply(event);
            }
            Err(error) => {
                if is_absent(&error) {
                    absent();
                } else if pause == FIRST_PAUSE {
                    // Said once for each absence.
                    tracing::warn!(what, %error, "the API does not answer; what is known goes on");
                }
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
