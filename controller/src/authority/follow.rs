//! Follows the Secret while the controller runs, and keeps what everybody trusts where it belongs.
//!
//! Invariant: a Secret that is gone or cannot be used changes nothing but what is said about it.

use std::sync::Arc;
use std::time::Duration;

use culvert_identity::TrustDomain;
use culvert_identity::ca::Root;
use culvert_identity::server_tls::Acceptor;
use culvert_runtime::drain::Drain;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::rotation::{Published, Rotation};
use super::{SECRET, authority, publish};
use crate::engine::{Event, Snapshot};
use crate::metrics;

/// How often it is seen to that the roots are where clients mount them; after a failure; one try.
const PUBLISH: (Duration, Duration, Duration) = (
    Duration::from_secs(30),
    Duration::from_secs(2),
    Duration::from_secs(10),
);

/// What follows the Secret.
pub struct Follower {
    /// Where it is.
    pub client: Client,
    /// Our own.
    pub namespace: String,
    /// Of what is signed.
    pub trust_domain: TrustDomain,
    /// Where it stands.
    pub rotation: Rotation,
    /// What signs certificates.
    pub issuer: watch::Sender<Arc<Root>>,
    /// What presents our own.
    pub acceptor: Arc<Acceptor>,
    /// Who tells everybody whom to trust.
    pub events: mpsc::Sender<Event>,
    /// How long certificates are valid.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("rotation", &self.rotation)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// Follow until the drain.
    pub async fn run(mut self, drain: Drain) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut stream = watcher::watch_object(secrets, SECRET)
            .default_backoff()
            .boxed();
        let mut told: Option<Published> = None;
        let mut publish_at = Instant::now();
        loop {
            self.sign();
            let trusted = self.rotation.trusted(crate::clock::now());
            if told.as_ref().map(|told| &told.roots) != Some(&trusted.roots) {
                let event = Event::Roots(trusted.roots.clone());
                if self.events.send(event).await.is_err() {
                    return;
                }
                publish_at = Instant::now();
            }
            if publish_at <= Instant::now() {
                publish_at = Instant::now() + self.publish(&trusted).await;
            }
            told = Some(trusted);
            let next = self.rotation.until();
            let next = next.map_or(publish_at, |next| next.min(publish_at));
            tokio::select! {
                () = drain.signaled() => return,
                () = tokio::time::sleep_until(next) => {}
                found = stream.next() => match found {
                    Some(Ok(found)) => self.found(found.as_ref()),
                    Some(Err(error)) => tracing::debug!(%error, "watching Secret {SECRET}"),
                    None => return,
                }
            }
        }
    }

    fn found(&mut self, secret: Option<&Secret>) {
        let namespace = &self.namespace;
        let Some(secret) = secret else {
            say_unusable(true);
            tracing::error!(
                "Secret {namespace}/{SECRET} is gone; what it held goes on signing here, but the next replica to start makes \
                 a new root: put it back"
            );
            return;
        };
        let found = authority(secret, namespace, self.trust_domain.clone());
        say_unusable(found.is_err());
        match found {
            Ok(found) => {
                if self.rotation.seen(found, Instant::now()) {
                    tracing::info!(
                        "Secret {namespace}/{SECRET} holds another authority: it is trusted now and signs soon"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "the authority before it goes on signing"),
        }
    }

    /// Change to the next authority, if it is time.
    fn sign(&mut self) {
        let ttl = self.snapshots.borrow().certificate_ttl;
        let now = (crate::clock::now(), Instant::now());
        let Some(root) = self.rotation.step(ttl, now.0, now.1) else {
            return;
        };
        if let Err(error) = self.acceptor.replace((*root).clone()) {
            tracing::error!(%error, "the controller's own certificate is still of the authority before");
        }
        self.issuer.send_replace(root);
        tracing::info!("certificates are signed by the new authority");
    }

    /// Any replica puts back what somebody took away. When it is to be looked at again.
    async fn publish(&self, trusted: &Published) -> Duration {
        let published = publish(&self.client, &self.namespace, trusted);
        match tokio::time::timeout(PUBLISH.2, published).await {
            Ok(Ok(())) => return PUBLISH.0,
            Ok(Err(error)) => tracing::warn!(%error, "the root certificate was not published"),
            Err(_elapsed) => tracing::warn!("the root certificate was not published in time"),
        }
        PUBLISH.1
    }
}

fn say_unusable(unusable: bool) {
    metrics::AUTHORITY_UNUSABLE
        .with_label_values::<&str>(&[])
        .set(i64::from(unusable));
}

#[cfg(test)]
mod tests;
