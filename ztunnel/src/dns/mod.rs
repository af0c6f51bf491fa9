//! DNS for a pod's applications: names of the mesh are answered here, everything else goes on, byte for byte, to the
//! resolver that the application asked. Where an EgressPolicy is by a name, ztunnel asks in the pod's place, see
//! [`crate::egress`].
//!
//! Invariants: a question leads to at most one question to that one resolver, never to us again; what waits for a
//! resolver is bounded for each pod, in number and in time.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::drain::Drain;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::egress::Rules;
use crate::inpod::Pod;
use crate::node::Node;
use crate::proxy::ports;

mod message;
mod metrics;
mod names;
mod tcp;
mod udp;

pub(crate) use tcp::serve as serve_tcp;
pub(crate) use udp::serve as serve_udp;

use message::{Decision, Transport};

/// How long the controller may take to say what a name is; after that the resolver is asked.
const ANSWER: Duration = Duration::from_secs(1);

/// What the questions of one pod share. Lives on the pod's core.
#[derive(Debug)]
pub(crate) struct Dns {
    node: Arc<Node>,
    pod: Arc<Pod>,
    drain: Drain,
    in_flight: Semaphore,
}

impl Dns {
    /// For `pod`.
    pub(crate) fn new(node: Arc<Node>, pod: Arc<Pod>, drain: Drain) -> Rc<Self> {
        let in_flight = Semaphore::new(node.limits.dns_in_flight);
        Rc::new(Self {
            node,
            pod,
            drain,
            in_flight,
        })
    }

    /// What to do with a question by what is known now.
    fn decide(&self, packet: &[u8], transport: Transport) -> Decision {
        metrics::question();
        self.look(packet, transport).0
    }

    /// The same for a question that was to be handed on: if the controller is asked for its name, with what it says.
    async fn decide_later(&self, packet: &[u8], transport: Transport) -> Decision {
        if !self.node.asking.is_on() {
            return Decision::Forward;
        }
        let deadline = Instant::now() + ANSWER;
        let mut changed = self.node.store.changed();
        loop {
            changed.borrow_and_update();
            let (decision, is_asked) = self.look(packet, transport);
            if !is_asked || !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return decision;
            }
        }
    }

    /// A decision, and whether the controller is being asked for the name.
    fn look(&self, packet: &[u8], transport: Transport) -> (Decision, bool) {
        let mut is_asked = false;
        let decision = message::decide(packet, transport, |name| {
            let snapshot = self.node.store.snapshot();
            is_asked = !self.node.asking.knows_hostname(snapshot.settings(), name);
            (!is_asked)
                .then(|| names::lookup(&snapshot, &self.pod, name))
                .flatten()
        });
        (decision, is_asked)
    }

    /// Whether the question is asked in the pod's place: a name that an EgressPolicy of the pod names, of a resolver that is
    /// trusted, so that what the pod is told is what its connections may reach.
    fn is_relayed(&self, resolver: SocketAddr, question: &[u8]) -> bool {
        let Some(name) = self.node.egress.name_in(resolver, question) else {
            return false;
        };
        Rules::of(&self.node.store.snapshot(), &self.pod).is_about(&name)
    }

    /// Whether asking `resolver` would be asking ourselves.
    fn is_loop(&self, resolver: SocketAddr) -> bool {
        let ip = resolver.ip();
        ip.is_loopback()
            || ip.is_unspecified()
            || (self.pod.owns(ip) && ports::is_own(resolver.port()))
    }
}
