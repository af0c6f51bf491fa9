//! Authorization of a client at this waypoint, which knows who it is: policies of the service that it addressed, then
//! policies of the endpoint that was picked. At a gateway: the gateway's own policies; an endpoint's policies are asked by
//! the endpoint's node proxy, about the gateway.
//!
//! Invariants: nothing is sent to an endpoint without a [`Permit`], and only [`Permits::grant`] makes one. A permit is
//! asked for anew when policies change, and revoked for good when the answer is no.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use culvert_policy::{Connection, DenyReason, PolicySet, Verdict};
use culvert_xds::state::Snapshot;

use crate::client::Client;
use crate::destination::Destination;
use crate::routes::Routes;
use crate::upstream::endpoint::Endpoint;

/// Why a client may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// The reason.
    pub reason: DenyReason,
    /// The policy that denies, if it is one.
    pub policy: Option<Arc<str>>,
}

impl From<DenyReason> for Denied {
    fn from(reason: DenyReason) -> Self {
        Self {
            reason,
            policy: None,
        }
    }
}

/// Leave to send to one endpoint on behalf of one client.
#[derive(Debug)]
pub struct Permit {
    grant: Rc<Grant>,
    permits: Rc<Permits>,
    number: u64,
}

/// A core's permits.
#[derive(Debug, Default)]
pub struct Permits {
    next: Cell<u64>,
    live: RefCell<HashMap<u64, Weak<Grant>>>,
}

#[derive(Debug)]
struct Grant {
    client: Rc<Client>,
    destination: Rc<Destination>,
    endpoint: Rc<Endpoint>,
    revoked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What is in force.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    /// Policies.
    pub snapshot: &'a Snapshot,
    /// Which of them a gateway names.
    pub routes: &'a Routes,
}

/// Asks the policies that target what the client addressed, with the address that it named.
pub fn check_destination(
    rules: InForce<'_>,
    client: &Client,
    destination: &Destination,
) -> Result<(), Denied> {
    match destination {
        Destination::Service { service, port } => {
            let policies = rules.snapshot.policies_for_service(&service.key, *port);
            verdict(&policies, client, destination.address())
        }
        // What applies to a workload is asked for it as an endpoint.
        Destination::Workload { .. } => Ok(()),
        Destination::Gateway(arrival) => match &rules.routes.gateway {
            Some(gateway) if !gateway.config.authorizations.is_empty() => {
                let policies = named(rules.snapshot, &gateway.config.authorizations)?;
                verdict(&policies, client, arrival.address)
            }
            // Without a Gateway nothing is served any more; what is still going on may end.
            _ => Ok(()),
        },
    }
}

/// Policies by name; one that is not known denies.
fn named(snapshot: &Snapshot, names: &[Arc<str>]) -> Result<PolicySet, DenyReason> {
    let find = |name: &Arc<str>| snapshot.policy(name).map(|it| Arc::clone(&it.policy));
    let policies: Option<Vec<_>> = names.iter().map(find).collect();
    policies
        .map(PolicySet::new)
        .ok_or(DenyReason::PolicyMissing)
}

/// Asks the endpoint's own policies as they are in `snapshot`.
fn check_endpoint(snapshot: &Snapshot, client: &Client, endpoint: &Endpoint) -> Result<(), Denied> {
    if endpoint.version() == snapshot.version() {
        return verdict(endpoint.policies()?, client, endpoint.address());
    }
    let workload = snapshot
        .workload(endpoint.uid())
        .ok_or(DenyReason::NoEndpoint)?;
    let policies = snapshot
        .policies_for(workload)
        .map_err(|_| DenyReason::PolicyMissing)?;
    verdict(&policies, client, endpoint.address())
}

fn verdict(
    policies: &PolicySet,
    client: &Client,
    destination: std::net::SocketAddr,
) -> Result<(), Denied> {
    let connection = Connection {
        peer: client.principal(),
        source: client.address,
        destination,
    };
    match policies.evaluate(&connection) {
        Verdict::Allow { .. } => Ok(()),
        Verdict::Deny { reason, policy } => Err(Denied {
            reason,
            policy: policy.cloned(),
        }),
    }
}

impl Permits {
    /// Asks the policies of what the client addressed and the endpoint's own, the latter with the address that will be
    /// dialled.
    pub fn grant(
        self: &Rc<Self>,
        rules: InForce<'_>,
        client: &Rc<Client>,
        destination: &Rc<Destination>,
        endpoint: &Rc<Endpoint>,
    ) -> Result<Permit, Denied> {
        check_destination(rules, client, destination)?;
        if destination.arrival().is_none() {
            check_endpoint(rules.snapshot, client, endpoint)?;
        }
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let grant = Rc::new(Grant {
            client: Rc::clone(client),
            destination: Rc::clone(destination),
            endpoint: Rc::clone(endpoint),
            revoked: Cell::new(false),
            waker: RefCell::default(),
        });
        self.live.borrow_mut().insert(number, Rc::downgrade(&grant));
        Ok(Permit {
            grant,
            permits: Rc::clone(self),
            number,
        })
    }

    /// Asks again for every permit, after policies changed.
    pub fn review(&self, rules: InForce<'_>) {
        let live: Vec<_> = self
            .live
            .borrow()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for grant in live {
            if let Err(denied) = grant.still_allowed(rules) {
                tracing::info!(
                    client = %grant.client.id(),
                    destination = %grant.destination.key(),
                    reason = %denied.reason,
                    "permit revoked"
                );
                grant.revoke();
            }
        }
    }
}

impl Grant {
    fn still_allowed(&self, rules: InForce<'_>) -> Result<(), Denied> {
        check_destination(rules, &self.client, &self.destination)?;
        // A workload that is gone takes nothing new; what it is doing may end.
        match rules.snapshot.workload(self.endpoint.uid()) {
            Some(_) if self.destination.arrival().is_none() => {
                check_endpoint(rules.snapshot, &self.client, &self.endpoint)
            }
            _ => Ok(()),
        }
    }

    fn revoke(&self) {
        self.revoked.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Permit {
    /// The endpoint that may be sent to.
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.grant.endpoint
    }

    /// Ready once the permit is revoked; the last caller is woken.
    pub fn poll_revoked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.grant.revoked.get() {
            return Poll::Ready(());
        }
        let mut waker = self.grant.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the permit is revoked.
    pub async fn revoked(&self) {
        std::future::poll_fn(|cx| self.poll_revoked(cx)).await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.live.borrow_mut().remove(&self.number);
    }
}
