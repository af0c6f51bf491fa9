//! What a gateway's listeners serve, by port and host.
//!
//! Invariant: the most specific listener of a port has a host to itself. One that can't be served refuses its hosts; no
//! less specific one ever takes them over.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::certificate::Certificate;
use crate::config::gateway::{Gateway, Listener};

use super::hosts::Hosts;
use super::stream::Streams;
use super::table::HostTable;

/// A gateway, ready to serve.
#[derive(Debug)]
pub struct GatewayPlan {
    /// What it was made from.
    pub config: Arc<Gateway>,
    ports: BTreeMap<u16, PortPlan>,
}

/// The listeners of one port.
#[derive(Debug, Default)]
struct PortPlan {
    hosts: Hosts<Option<Arc<ListenerPlan>>>,
}

/// A listener, ready to serve.
#[derive(Debug)]
pub struct ListenerPlan {
    /// What it was made from.
    pub config: Arc<Listener>,
    /// Its certificates, or why its hosts are refused.
    pub certificates: Result<Vec<Arc<Certificate>>, String>,
    /// Routes of requests.
    pub http: HostTable,
    /// Routes of connections.
    pub streams: Streams,
}

/// The routes of one listener while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) http: HostTable,
    pub(super) streams: Streams,
}

impl GatewayPlan {
    /// Puts listeners, certificates and the routes of each listener together.
    pub(super) fn new(
        config: &Arc<Gateway>,
        known: &BTreeMap<String, Arc<Certificate>>,
        mut gathered: impl FnMut(&Listener) -> Gathered,
    ) -> Self {
        let mut ports: BTreeMap<u16, PortPlan> = BTreeMap::new();
        for listener in &config.listeners {
            let Gathered {
                mut http,
                mut streams,
            } = gathered(listener);
            http.sort();
            streams.sort();
            let plan = ListenerPlan {
                config: Arc::clone(listener),
                certificates: certificates(listener, known),
                http,
                streams,
            };
            let hosts = &mut ports.entry(listener.port).or_default().hosts;
            let first = hosts.entry(listener.hostname.as_ref());
            first.get_or_insert_with(|| Arc::new(plan));
        }
        for port in ports.values_mut() {
            port.hosts.finish(|_| ());
        }
        Self {
            config: Arc::clone(config),
            ports,
        }
    }

    /// The listener of a port to which this host (canonical; empty if there is none) belongs.
    pub fn listener(&self, port: u16, host: &str) -> Option<&Arc<ListenerPlan>> {
        let hosts = &self.ports.get(&port)?.hosts;
        hosts.candidates(host).next()?.as_ref()
    }
}

impl ListenerPlan {
    /// Why its hosts are refused, if they are.
    pub fn unresolved(&self) -> Option<&str> {
        self.certificates.as_ref().err().map(String::as_str)
    }
}

/// The certificates that the listener names: all of them, or why it can't be served.
fn certificates(
    listener: &Listener,
    known: &BTreeMap<String, Arc<Certificate>>,
) -> Result<Vec<Arc<Certificate>>, String> {
    if let Some(reason) = &listener.unresolved {
        return Err(reason.clone());
    }
    let missing = |name: &Arc<str>| format!("certificate {name} is not known");
    let find = |name: &Arc<str>| known.get(&**name).cloned().ok_or_else(|| missing(name));
    listener.protocol.certificates().iter().map(find).collect()
}

#[cfg(test)]
mod tests;
