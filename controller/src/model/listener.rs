//! Where a gateway takes connections from outside the mesh.

use serde::Serialize;

use super::{Allowed, Kind};

/// One listener. What depends on its Gateway alone is decided here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Unique in its Gateway.
    pub name: String,
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
    /// Left out it is the Gateway's.
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
    /// Whether it ends TLS.
    #[must_use]
    pub fn terminates(&self) -> bool {
        matches!(self.protocol, Protocol::Https | Protocol::Tls) && !self.passthrough
    }
}
