//! Where a gateway takes connections from outside the mesh.

use serde::Serialize;

use super::{Allowed, Kind, NsName};

/// What counts of a ListenerSet: listeners that another Gateway is to have beside its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ListenerSet {
    /// Whose. None: its parent is something else than a Gateway.
    pub gateway: Option<NsName>,
    /// One at least. Whether they conflict with others is not told here.
    pub listeners: Vec<Listener>,
}

/// One listener. What depends on the object that it stands in alone is decided here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Unique in its Gateway or ListenerSet.
    pub name: String,
    /// The ListenerSet that it stands in. None: its Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<NsName>,
    /// Where it listens.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Empty: every host. `*.` at its beginning stands for one label or more.
    pub hostname: String,
    /// TLS goes on as it is, rather than ends here.
    pub passthrough: bool,
    /// What it proves itself with where TLS ends here.
    pub certificates: Vec<CertificateRef>,
    /// From which namespaces routes may be attached.
    pub allowed: Allowed,
    /// Kinds of route that it takes.
    pub kinds: Vec<Kind>,
    /// What it names as kinds of route and cannot take.
    pub strange_kinds: Vec<String>,
    /// Why it is not served, nor takes routes.
    pub refused: Option<Refused>,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Http,
    Https,
    Tls,
    Tcp,
    /// Something that no gateway here speaks.
    Unknown,
}

/// The name of what a listener proves itself with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateRef {
    /// Empty for a Secret.
    pub group: String,
    /// `Secret`.
    pub kind: String,
    /// Left out it is that of the object that the listener stands in.
    pub namespace: Option<String>,
    /// Of the Secret.
    pub name: String,
}

/// Why a listener is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// A word for programs.
    pub reason: &'static str,
    /// Because of another listener.
    pub conflict: bool,
    /// A sentence for people.
    pub message: String,
}

impl Listener {
    /// What tells it from all others of its Gateway: no name of a listener has a slash.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.set {
            None => self.name.clone(),
            Some(set) => format!("{set}/{}", self.name),
        }
    }

    /// The kind and namespace of the object that it stands in, given its Gateway's.
    #[must_use]
    pub fn owner<'a>(&'a self, gateway: &'a NsName) -> (Kind, &'a str) {
        match &self.set {
            None => (Kind::Gateway, &gateway.namespace),
            Some(set) => (Kind::ListenerSet, &set.namespace),
        }
    }

    /// Whether it ends TLS.
    #[must_use]
    pub fn terminates(&self) -> bool {
        matches!(self.protocol, Protocol::Https | Protocol::Tls) && !self.passthrough
    }
}
