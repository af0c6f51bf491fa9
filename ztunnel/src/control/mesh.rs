//! What follows from the controller's word besides the state itself: who is trusted, and what our pods are called.
//!
//! Invariant: a trust bundle that does not parse never replaces one that does.

use std::sync::Arc;

use culvert_identity::bundle::TrustSender;
use culvert_identity::{TrustBundle, TrustDomain};
use culvert_proto::type_url;
use culvert_runtime::ready::ReadyTask;
use culvert_runtime::task;

use crate::inpod::Pods;
use crate::node::Node;

/// Follow the store for ever. `ready` is done when all has come that a decision needs.
pub(crate) fn follow(node: &Arc<Node>, pods: &Arc<Pods>, trust: TrustSender, ready: ReadyTask) {
    task::spawn("trust_bundle", follow_trust(node.clone(), trust));
    task::spawn("settings", follow_settings(node.clone(), pods.clone()));
    let node = node.clone();
    task::spawn("first_sync", async move {
        node.synced().await;
        ready.done();
        tracing::info!(
            version = node.store.snapshot().version(),
            "the mesh's state is complete"
        );
    });
}

async fn follow_trust(node: Arc<Node>, trust: TrustSender) {
    let mut roots = node.store.trust_roots();
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

async fn follow_settings(node: Arc<Node>, pods: Arc<Pods>) {
    node.store.wait_synced(&[type_url::MESH_SETTINGS]).await;
    let mut changed = node.store.changed();
    let mut current = None;
    loop {
        changed.borrow_and_update();
        let wanted = node.store.snapshot().settings().trust_domain.clone();
        if current.as_ref() != Some(&wanted) {
            match TrustDomain::new(&wanted) {
                Ok(trust_domain) => node
                    .certificates
                    .set_trust_domain(trust_domain, pods.list()),
                Err(error) => {
                    tracing::error!(trust_domain = %wanted, %error, "no identities in this trust domain")
                }
            }
            current = Some(wanted);
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
