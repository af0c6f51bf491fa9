//! `authorize`: whether the peer may reach the destination, now and for as long as the connection lasts.
//!
//! Invariants: a [`Permit`] is the only way to dial, and it dials what was judged; a connection is in its pod's table
//! before it is judged, so that a change of policy that races with it loses to deny; what is not known (the workload, a
//! policy that it names) denies.

use std::sync::Arc;

use culvert_identity::SpiffeId;
use culvert_policy::{Action, Connection as Question, DenyReason, PolicySet, Verdict};
use culvert_xds::Store;
use culvert_xds::state::{GatewayDestination, GatewayRef, Snapshot, Workload};

use super::identify::Peer;
use super::resolve::Destination;
use crate::inpod::Pod;
use crate::proxy::connections::{Connection, Stop, Subject};
use crate::proxy::denial::Denial;

/// So many policies are named in a log line.
const NAMED: usize = 4;

/// Leave to reach one destination, until it is revoked.
#[derive(Debug)]
pub(crate) struct Permit {
    destination: Destination,
    peer: Peer,
    stop: Stop,
}

/// Judge, and keep under judgement from now on.
pub(crate) fn authorize(
    connection: &mut Connection,
    store: &Store,
    pod: &Pod,
    peer: Peer,
    destination: Destination,
) -> Result<Permit, Denial> {
    let subject = Subject {
        peer: peer.identity().cloned(),
        source: peer.address(),
        destination: destination.addr(),
    };
    connection.admit(subject.clone());
    Rules::of(&store.snapshot(), pod).judge(&subject)?;
    Ok(Permit {
        destination,
        peer,
        stop: connection.take_stop(),
    })
}

impl Permit {
    /// What may be dialled.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// For whom.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What tells that it is revoked.
    pub(super) fn stop(&mut self) -> &mut Stop {
        &mut self.stop
    }

    /// The same, for the copy that follows.
    pub(super) fn into_stop(self) -> Stop {
        self.stop
    }
}

/// All that decides who may reach a pod, taken from one snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    policies: Result<PolicySet, Denial>,
    /// Who speaks for the clients behind them: a waypoint has asked the policies already, knowing the client.
    waypoints: Vec<SpiffeId>,
    /// Only a waypoint may come in.
    only_waypoints: bool,
}

impl Rules {
    /// Those of `pod`.
    pub(crate) fn of(snapshot: &Snapshot, pod: &Pod) -> Self {
        match pod.workload(snapshot) {
            Some(workload) => Self::of_workload(snapshot, workload),
            None => Self {
                policies: Err(DenyReason::WorkloadUnknown.into()),
                waypoints: Vec::new(),
                only_waypoints: false,
            },
        }
    }

    fn of_workload(snapshot: &Snapshot, workload: &Workload) -> Self {
        let missing = |error| Denial::because(DenyReason::PolicyMissing, error);
        let services = workload
            .services()
            .iter()
            .filter_map(|binding| snapshot.service(&binding.service));
        let gateways = services
            .filter_map(|service| service.waypoint.as_ref())
            .chain(workload.waypoint());
        Self {
            policies: snapshot.policies_for(workload).map_err(missing),
            waypoints: gateways
                .flat_map(|gateway| identities(snapshot, gateway))
                .collect(),
            only_waypoints: workload.waypoint().is_some(),
        }
    }

    /// The verdict on one connection.
    pub(crate) fn judge(&self, subject: &Subject) -> Result<(), Denial> {
        let policies = self.policies.as_ref().map_err(Clone::clone)?;
        if let Some((id, _)) = &subject.peer
            && self.waypoints.contains(id)
        {
            return Ok(());
        }
        let question = Question {
            peer: subject.peer.as_ref().map(|(_, principal)| principal),
            source: subject.source,
            destination: subject.destination,
        };
        match policies.evaluate(&question) {
            Verdict::Deny { reason, policy } => Err(Denial {
                reason,
                policy: policy.cloned(),
                detail: (reason == DenyReason::PolicyNotAllowed).then(|| not_allowed(policies)),
            }),
            Verdict::Allow { .. } if self.only_waypoints => {
                Err(DenyReason::WaypointRequired.into())
            }
            Verdict::Allow { .. } => Ok(()),
        }
    }

    /// Whether both judge every connection alike because nothing differs.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_policies = match (&self.policies, &other.policies) {
            (Ok(a), Ok(b)) => {
                a.iter().count() == b.iter().count()
                    && a.iter().zip(b.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
            }
            (Err(a), Err(b)) => a == b,
            _ => false,
        };
        same_policies
            && self.waypoints == other.waypoints
            && self.only_waypoints == other.only_waypoints
    }
}

/// By which policies a connection could have been allowed.
fn not_allowed(policies: &PolicySet) -> Arc<str> {
    let allowing = policies
        .iter()
        .filter(|policy| policy.action() == Action::Allow && !policy.is_dry_run());
    let names: Vec<&str> = allowing
        .take(NAMED)
        .map(|policy| &**policy.name())
        .collect();
    format!(
        "no ALLOW policy matches the connection, of {}",
        names.join(", ")
    )
    .into()
}

/// Who the instances of a waypoint prove to be.
fn identities(snapshot: &Snapshot, gateway: &GatewayRef) -> Vec<SpiffeId> {
    let service = match &gateway.destination {
        GatewayDestination::Address { ip, .. } => match snapshot.service_by_vip(*ip) {
            Some(service) => Some(service),
            None => {
                return snapshot
                    .workload_by_ip(*ip)
                    .map(|workload| workload.identity().clone())
                    .into_iter()
                    .collect();
            }
        },
        GatewayDestination::Hostname {
            namespace,
            hostname,
        } => snapshot.service(&format!("{namespace}/{hostname}")),
    };
    let mut ids: Vec<_> = service
        .into_iter()
        .flat_map(|service| snapshot.workloads_of(service))
        .map(|workload| workload.identity().clone())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests;
