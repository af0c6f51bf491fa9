//! Which replica writes to the API server: the one that holds a Lease.
//!
//! Invariants: a replica stops acting before another one may begin (the renew deadline is well below the lease's length),
//! and no clock but its own is asked: another's lease has run out when its record has not changed for its whole length.

use std::time::Duration;

use culvert_runtime::drain::Drain;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics;

/// The name of the lease, in the controller's namespace.
pub const LEASE: &str = "culvert-controller";
/// Others wait this long for a holder that says nothing.
const LENGTH: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops acting.
const DEADLINE: Duration = Duration::from_secs(9);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// Whether this replica leads. Everything that only one replica may do waits for `true` and stops at `false`.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Leadership as this channel says.
    #[must_use]
    pub fn new(channel: watch::Receiver<bool>) -> Self {
        Self(channel)
    }

    /// Whether this replica leads now.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.0.borrow()
    }

    /// The channel itself.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Wait until this replica leads; false when it never will, since the program ends.
    pub async fn gained(&mut self) -> bool {
        self.0.wait_for(|leads| *leads).await.is_ok()
    }

    /// Wait until it does not lead.
    pub async fn lost(&mut self) {
        // A closed channel means the same.
        let _ = self.0.wait_for(|leads| !*leads).await;
    }
}

/// Stands for election.
#[derive(Debug)]
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    leads: watch::Sender<bool>,
    /// The record as last seen, and when it became so by our own clock.
    seen: Option<(Option<LeaseSpec>, Instant)>,
    renewed: Option<Instant>,
}

/// What a record allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is ours.
    Renew,
    /// It is nobody's, or its holder has gone.
    Take,
    /// Its holder may act.
    Wait,
}

fn turn(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> Turn {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    let length = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    match holder {
        _ if holder == identity => Turn::Renew,
        "" => Turn::Take,
        _ if unchanged >= length => Turn::Take,
        _ => Turn::Wait,
    }
}

impl Candidate {
    /// A candidate of this name, which no other replica has.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> (Self, Leadership) {
        let (leads, receiver) = watch::channel(false);
        let candidate = Self {
            leases: Api::namespaced(client, namespace),
            identity,
            leads,
            seen: None,
            renewed: None,
        };
        (candidate, Leadership(receiver))
    }

    /// Stand until the drain, then give the lease back.
    pub async fn run(mut self, drain: Drain) {
        loop {
            let began = Instant::now();
            let deadline = self.renewed.map_or(began, |at| at) + DEADLINE;
            let limit = deadline.max(began + RETRY);
            let outcome = tokio::time::timeout_at(limit, self.step()).await;
            match outcome {
                Ok(Ok(true)) => self.renewed = Some(began),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was neither read nor renewed"),
                Err(_elapsed) => tracing::warn!("the lease was neither read nor renewed in time"),
            }
            self.tell();
            let pause = self.renewed.map_or(RETRY, |at| {
                RETRY.min((at + DEADLINE).saturating_duration_since(Instant::now()))
            });
            tokio::select! {
                () = drain.signaled() => break,
                () = tokio::time::sleep(pause.max(Duration::from_millis(50))) => self.tell(),
            }
        }
        let held = self.renewed.take().is_some();
        self.tell();
        if held {
            let released = tokio::time::timeout(RETRY, self.release()).await;
            if !matches!(released, Ok(Ok(()))) {
                tracing::warn!("the lease was not given back; it runs out by itself");
            }
        }
    }

    /// Say whether we lead: only as long as the last renewal counts.
    fn tell(&mut self) {
        let leads = self.renewed.is_some_and(|at| at.elapsed() < DEADLINE);
        if !leads {
            self.renewed = None;
        }
        metrics::LEADER
            .with_label_values::<&str>(&[])
            .set(i64::from(leads));
        let changed = self.leads.send_if_modified(|now| {
            let changed = *now != leads;
            *now = leads;
            changed
        });
        if changed {
            tracing::info!(identity = self.identity, leads, "leadership");
        }
    }

    /// One look at the lease; whether it is ours now.
    async fn step(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(LEASE).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(LEASE.into()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.record(None)),
            };
            return self.written(self.leases.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let now = Instant::now();
        let since = match &self.seen {
            Some((before, since)) if *before == lease.spec => *since,
            _ => now,
        };
        self.seen = Some((lease.spec.clone(), since));
        // A lease of ours from before a failure may have been taken for lost meanwhile: it is renewed like any other.
        match turn(&spec, &self.identity, now - since) {
            Turn::Wait => Ok(false),
            Turn::Renew | Turn::Take => {
                lease.spec = Some(self.record(Some(&spec)));
                let written = self
                    .leases
                    .replace(LEASE, &PostParams::default(), &lease)
                    .await;
                self.written(written)
            }
        }
    }

    /// A write that somebody else was faster with is no error.
    fn written(&mut self, result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
        match result {
            Ok(lease) => {
                self.seen = Some((lease.spec, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn record(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(crate::clock::now());
        let same = before.is_some_and(|b| b.holder_identity.as_deref() == Some(&*self.identity));
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or_default();
        let acquired = before.and_then(|b| b.acquire_time.clone()).filter(|_| same);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LENGTH.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(!same)),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(LEASE).await? else {
            return Ok(());
        };
        let ours = |spec: &LeaseSpec| spec.holder_identity.as_deref() == Some(&*self.identity);
        if let Some(spec) = lease.spec.as_mut().filter(|spec| ours(spec)) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.leases
                .replace(LEASE, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn whose_turn_it_is() {
        let seconds = Duration::from_secs;
        for (holder, unchanged, expected) in [
            ("me", seconds(100), Turn::Renew),
            ("", seconds(0), Turn::Take),
            ("other", seconds(14), Turn::Wait),
            ("other", seconds(15), Turn::Take),
        ] {
            assert_eq!(turn(&spec(holder), "me", unchanged), expected, "{holder}");
        }
        assert!(DEADLINE + RETRY < LENGTH);
    }
}
