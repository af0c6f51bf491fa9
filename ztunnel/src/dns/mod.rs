//! DNS for a pod's applications: names of the mesh are answered here, everything else goes on, byte for byte, to the
//! resolver that the application asked.
//!
//! Invariants: a question leads to at most one question to that one resolver, never to us again; what waits for a
//! resolver is bounded for each pod, in number and in time.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use culvert_runtime::drain::Drain;
use tokio::sync::Semaphore;

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

    fn decide(&self, packet: &[u8], transport: Transport) -> Decision {
        metrics::question();
        message::decide(packet, transport, |name| {
            names::lookup(&self.node.store.snapshot(), name)
        })
    }

    /// Whether asking `resolver` would be asking ourselves.
    fn is_loop(&self, resolver: SocketAddr) -> bool {
        let ip = resolver.ip();
        ip.is_loopback()
            || ip.is_unspecified()
            || (self.pod.owns(ip) && ports::is_own(resolver.port()))
    }
}
