//! Listeners between which a connection cannot be told apart.
//!
//! Invariant: of those that conflict none is served: nobody gets somebody else's port by naming it too.

use std::collections::BTreeMap;

use crate::model::{Listener, Protocol, Refused};

/// How connections to a port are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By the host that each request names.
    Request,
    /// By the name in the TLS handshake.
    Handshake,
    /// Not at all.
    Never,
}

fn told(protocol: Protocol) -> Told {
    match protocol {
        Protocol::Http => Told::Request,
        Protocol::Https | Protocol::Tls => Told::Handshake,
        Protocol::Tcp | Protocol::Unknown => Told::Never,
    }
}

/// Refuse those that conflict.
pub(super) fn find(listeners: &mut [Listener]) {
    let mut ports: BTreeMap<u16, Vec<(usize, &Listener)>> = BTreeMap::new();
    for (i, listener) in listeners.iter().enumerate() {
        if listener.refused.is_none() {
            ports.entry(listener.port).or_default().push((i, listener));
        }
    }
    let refused: Vec<_> = ports.values().flat_map(|port| of_port(port)).collect();
    for (i, refused) in refused {
        if let Some(listener) = listeners.get_mut(i) {
            listener.refused = Some(refused);
        }
    }
}

fn of_port(all: &[(usize, &Listener)]) -> Vec<(usize, Refused)> {
    let conflict = |(i, one): &(usize, &Listener)| {
        let others = || all.iter().filter(|(j, _)| j != i).map(|(_, other)| *other);
        let way = told(one.protocol);
        let by_protocol = others().find(|other| told(other.protocol) != way || way == Told::Never);
        let by_host = || others().find(|other| other.hostname == one.hostname);
        let (reason, other) = match by_protocol {
            Some(other) => ("ProtocolConflict", other),
            None => ("HostnameConflict", by_host()?),
        };
        let message = format!(
            "listener {} has port {} too, and connections cannot be told apart: neither is served",
            other.name, one.port
        );
        let refused = Refused {
            reason,
            conflict: true,
            message,
        };
        Some((*i, refused))
    };
    all.iter().filter_map(conflict).collect()
}
