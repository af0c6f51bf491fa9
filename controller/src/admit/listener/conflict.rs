//! Listeners between which a connection cannot be told apart.
//!
//! Invariants: of those of one object that conflict none is served: nobody gets somebody else's port by naming it too. Of
//! several objects the first has what it names, whether or not that can be served, and no later one takes it over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::{Listener, Protocol, Refused};

/// So many listeners a Gateway may have with those of its ListenerSets ...
const MOST: usize = 1024;
/// ... at so many ports. An EndpointSlice has no more.
const MOST_PORTS: usize = 100;

/// How connections to a port are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What those that come first have taken.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    ports: BTreeMap<u16, Claim>,
    count: usize,
}

/// What is taken of a port.
#[derive(Debug, Default)]
struct Claim {
    ways: Vec<Told>,
    hosts: HashSet<String>,
}

impl Claims {
    /// Of listeners that were judged beside each other already.
    pub(crate) fn of(first: &[Listener]) -> Self {
        let mut claims = Self::default();
        claims.take(first, |listener| {
            let refused = listener.refused.as_ref();
            refused.is_none_or(|refused| refused.conflict)
        });
        claims
    }

    /// Refuse those of the next object whose port and host are taken, and those that conflict with each other. What is left
    /// is theirs.
    pub(crate) fn judge(&mut self, next: &mut [Listener]) {
        let mut ports = BTreeSet::new();
        for (i, listener) in next.iter_mut().enumerate() {
            if listener.refused.is_some() {
                continue;
            }
            let known = self.ports.contains_key(&listener.port) || ports.contains(&listener.port);
            let room =
                self.count + i < MOST && (known || self.ports.len() + ports.len() < MOST_PORTS);
            let refused = match self.conflict(listener) {
                Some(reason) => Some(taken(reason, listener)),
                None if !room => Some(too_many()),
                None => {
                    ports.insert(listener.port);
                    continue;
                }
            };
            listener.refused = refused;
        }
        let free = next.iter().filter(|l| l.refused.is_none());
        let free: BTreeSet<_> = free.map(|listener| listener.name.clone()).collect();
        find(next);
        self.take(next, |listener| free.contains(&listener.name));
    }

    /// Take what some of these name, and what others name and nobody has.
    fn take(&mut self, listeners: &[Listener], some: impl Fn(&Listener) -> bool) {
        for listener in listeners.iter().filter(|listener| some(listener)) {
            self.add(listener);
        }
        for listener in listeners.iter().filter(|listener| !some(listener)) {
            // One that cannot be served is its owner's all the same.
            let known = self.ports.contains_key(&listener.port);
            if listener.protocol != Protocol::Unknown
                && (known || self.ports.len() < MOST_PORTS)
                && self.conflict(listener).is_none()
            {
                self.add(listener);
            }
        }
    }

    fn add(&mut self, listener: &Listener) {
        let claim = self.ports.entry(listener.port).or_default();
        let way = told(listener.protocol);
        if !claim.ways.contains(&way) {
            claim.ways.push(way);
        }
        claim.hosts.insert(listener.hostname.clone());
        self.count += 1;
    }

    fn conflict(&self, listener: &Listener) -> Option<&'static str> {
        let claim = self.ports.get(&listener.port)?;
        let way = told(listener.protocol);
        if way == Told::Never || claim.ways.iter().any(|other| *other != way) {
            return Some("ProtocolConflict");
        }
        let hosts = &claim.hosts;
        hosts
            .contains(&listener.hostname)
            .then_some("HostnameConflict")
    }
}

/// Whose it is, is not for everybody to know.
fn taken(reason: &'static str, listener: &Listener) -> Refused {
    let what = if reason == "HostnameConflict" {
        "the host"
    } else {
        "another protocol"
    };
    let message = format!(
        "port {} is taken for {what}, by the Gateway or an older ListenerSet",
        listener.port
    );
    Refused {
        reason,
        conflict: true,
        message,
    }
}

fn too_many() -> Refused {
    let message = format!(
        "the Gateway has {MOST} listeners or {MOST_PORTS} ports with its ListenerSets already"
    );
    Refused {
        reason: "TooManyListeners",
        conflict: false,
        message,
    }
}
