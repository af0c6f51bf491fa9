//! One connected ztunnel: sends what it lacks, until it goes, fails to answer or the agent ends.

use std::io;
use std::time::Duration;

use culvert_runtime::drain::Drain;
use culvert_runtime::netns::Netns;
use culvert_zds::{Peer, Pending, ZdsError};
use tokio::time::Instant;

use super::state::Next;
use super::{Offer, Ztunnels};
use crate::metrics;

/// Forgets the ztunnel, however its task ends.
struct Joined {
    ztunnels: Ztunnels,
    id: u64,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.ztunnels.lock().leave(self.id);
        self.ztunnels.changed();
    }
}

pub(super) async fn serve(ztunnels: Ztunnels, pending: Pending, deadline: Duration, drain: Drain) {
    let mut peer = match pending.hello(deadline).await {
        Ok(peer) => peer,
        Err(error) => return failed(&error),
    };
    let id = ztunnels.lock().join(peer.is_culvert());
    let joined = Joined { ztunnels, id };
    joined.ztunnels.changed();
    tracing::info!(
        ztunnel = id,
        culvert = peer.is_culvert(),
        "ztunnel connected"
    );
    let error = tokio::select! {
        () = drain.signaled() => return,
        error = converse(&joined, &mut peer) => error,
    };
    failed(&error);
}

fn failed(error: &ZdsError) {
    if matches!(error, ZdsError::Closed) {
        tracing::info!("ztunnel disconnected");
        return;
    }
    tracing::warn!(%error, "ztunnel dropped");
    metrics::failure("zds");
}

async fn converse(joined: &Joined, peer: &mut Peer) -> ZdsError {
    let mut changes = joined.ztunnels.subscribe();
    loop {
        let next = joined.ztunnels.lock().next(joined.id, Instant::now());
        let result = match next {
            Next::Add(offer) => add(joined, peer, &offer).await,
            Next::Del(uid) => del(joined, peer, &uid).await,
            Next::Snapshot => snapshot(joined, peer).await,
            Next::Idle(until) => {
                tokio::select! {
                    // The sender lives as long as the handle that `joined` holds.
                    _ = changes.changed() => Ok(()),
                    () = at(until) => Ok(()),
                    error = peer.gone() => Err(error),
                }
            }
        };
        if let Err(error) = result {
            return error;
        }
    }
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn add(joined: &Joined, peer: &mut Peer, offer: &Offer) -> Result<(), ZdsError> {
    let uid = &offer.workload.uid;
    let sent = match open(offer) {
        Ok(netns) => peer.send_add(offer.workload.clone(), netns.as_fd()).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ZdsError::Rejected(error.to_string()))
        }
        // Out of descriptors, say: a ztunnel that serves the pod already is not to drop it.
        Err(error) => match peer.send_keep(uid).await {
            Err(fatal) if fatal.is_fatal() => Err(fatal),
            _ => Err(ZdsError::Rejected(error.to_string())),
        },
    };
    let result = match sent {
        Err(error) if error.is_fatal() => return Err(error),
        Err(error) => {
            tracing::warn!(ztunnel = joined.id, pod = uid, %error, "pod not taken");
            metrics::failure("zds");
            Err(error.to_string())
        }
        Ok(()) => Ok(()),
    };
    joined.ztunnels.lock().answered(joined.id, uid, result);
    joined.ztunnels.changed();
    Ok(())
}

/// Open the namespace; one that took its place at the path is not it.
fn open(offer: &Offer) -> io::Result<Netns> {
    let netns = offer.netns.open()?;
    if netns.id() != offer.id {
        let name = offer.netns.name();
        let replaced = format!("network namespace {} was replaced", name.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, replaced));
    }
    Ok(netns)
}

async fn del(joined: &Joined, peer: &mut Peer, uid: &str) -> Result<(), ZdsError> {
    match peer.send_del(uid).await {
        Err(error) if error.is_fatal() => return Err(error),
        // It does not have the pod: what was wanted.
        Err(error) => tracing::debug!(ztunnel = joined.id, pod = uid, %error, "pod not known"),
        Ok(()) => {}
    }
    joined.ztunnels.lock().deleted(joined.id, uid);
    joined.ztunnels.changed();
    Ok(())
}

async fn snapshot(joined: &Joined, peer: &mut Peer) -> Result<(), ZdsError> {
    match peer.send_snapshot().await {
        Err(error) if error.is_fatal() => return Err(error),
        Err(error) => tracing::warn!(ztunnel = joined.id, %error, "snapshot not taken"),
        Ok(()) => {}
    }
    joined.ztunnels.lock().snapshot_sent(joined.id);
    joined.ztunnels.changed();
    Ok(())
}
