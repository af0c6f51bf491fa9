//! The configuration as it comes from the controller.
//!
//! Invariant: nothing is served before the controller has said once what there is of every type, so that a route or a
//! policy that has not come yet is never taken for one that does not exist.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use culvert_identity::TrustBundle;
use culvert_identity::bundle::TrustSender;
use culvert_identity::controller::Controller;
use culvert_runtime::drain::Drain;
use culvert_xds::{Handler, Handlers, Rejected, Store, Update};
use tokio::sync::watch;

use crate::args::Args;
use crate::routes::{OwnGateway, RouteStore, Shared};

/// The store of routes, shared between the stream that fills it and the admin server.
#[derive(Debug, Clone)]
pub(crate) struct RouteFeed {
    store: Arc<Mutex<RouteStore>>,
    synced: Arc<watch::Sender<Vec<String>>>,
}

impl RouteFeed {
    /// Nothing known yet.
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::default(),
            synced: Arc::new(watch::Sender::new(Vec::new())),
        }
    }

    /// The snapshot that follows it.
    pub(crate) fn shared(&self) -> Shared {
        self.lock().shared()
    }

    /// Changes of this process's own Gateway.
    pub(crate) fn gateway(&self) -> OwnGateway {
        self.lock().gateway()
    }

    /// The store itself; never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, RouteStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the controller has said what there is of every type.
    pub(crate) async fn synced(&self) {
        let all = |synced: &Vec<String>| {
            RouteStore::TYPES
                .iter()
                .all(|url| synced.iter().any(|known| known == url))
        };
        // The sender lives as long as `self`.
        let _ = self.synced.subscribe().wait_for(all).await;
    }
}

impl Handler for RouteFeed {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let mut store = self.lock();
        for name in update.removed {
            store.remove(type_url, &name);
        }
        for resource in update.resources {
            if let Err(error) = store.set(type_url, &resource.name, &resource.body) {
                rejected.push(Rejected {
                    name: resource.name,
                    error: error.to_string(),
                });
            }
        }
        store.publish();
        drop(store);
        self.synced.send_if_modified(|synced| {
            let new = !synced.iter().any(|known| known == type_url);
            if new {
                synced.push(type_url.to_owned());
            }
            new
        });
        rejected
    }
}

/// Keeps the stream to the controller until the drain starts.
pub(crate) async fn run(
    args: &Args,
    controller: Controller,
    store: Store,
    routes: RouteFeed,
    drain: Drain,
) {
    let handlers = Handlers::new()
        .with(Store::TYPES, store)
        .with(RouteStore::TYPES, routes);
    let name = &args.name;
    let metadata = [("WAYPOINT", name.name.as_str())];
    let node = culvert_xds::node(
        "waypoint",
        args.listen.ip(),
        &name.name,
        &name.namespace,
        &metadata,
    );
    let types = handlers.types();
    culvert_xds::Client::new(controller, node, &types, handlers)
        .run(drain)
        .await;
}

/// Publishes the mesh's roots as they come. A text that is none never replaces one that is.
pub(crate) async fn follow_trust(store: Store, trust: TrustSender) {
    let mut roots = store.trust_roots();
    loop {
        let current = roots.borrow_and_update().clone();
        if let Some(current) = current {
            match TrustBundle::from_pem(&current.roots) {
                Ok(bundle) => trust.publish(bundle),
                Err(error) => {
                    tracing::error!(%error, "the controller's roots cannot be used, the old ones stay")
                }
            }
        }
        if roots.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use culvert_proto::{type_url, waypoint as pb};
    use culvert_xds::Resource;
    use prost::Message as _;

    use super::*;

    #[tokio::test]
    async fn good_resources_apply_and_wrong_ones_are_named() {
        let mut feed = RouteFeed::new();
        let resource = |name: &str, body: Vec<u8>| Resource {
            name: name.into(),
            version: "1".into(),
            body: body.into(),
        };
        let parents = vec![pb::ServiceRef {
            service: "d/web".into(),
            port: 0,
        }];
        let good = pb::HttpRoute {
            parents,
            ..Default::default()
        }
        .encode_to_vec();
        let update = Update {
            resources: vec![resource("good", good), resource("bad", b"\xff".to_vec())],
            ..Update::default()
        };
        let rejected = feed.apply(type_url::HTTP_ROUTE, update);
        assert_eq!(
            rejected.iter().map(|r| &*r.name).collect::<Vec<_>>(),
            ["bad"]
        );
        assert!(
            feed.shared()
                .load()
                .port("d/web", 80)
                .unwrap()
                .table("d")
                .is_some()
        );
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, feed.synced())
                .await
                .is_err()
        );
        for url in RouteStore::TYPES {
            assert!(feed.apply(url, Update::default()).is_empty());
        }
        feed.synced().await;
        let update = Update {
            removed: vec!["good".into()],
            ..Update::default()
        };
        feed.apply(type_url::HTTP_ROUTE, update);
        assert!(feed.shared().load().port("d/web", 80).is_none());
    }
}
