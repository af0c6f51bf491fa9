//! An Ingress and its class, as Kubernetes has them.
//!
//! What is wrong with an Ingress in a way that the API server lets pass is kept and said where it is used: whose it is, is
//! known only by its class, and of others' nothing is said.

use std::collections::BTreeSet;

use serde::Serialize;

/// What counts of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ingress {
    /// The class that it names: by the old annotation, or else by `spec.ingressClassName`.
    pub class: Option<String>,
    /// What takes requests that no rule matches.
    pub default_backend: Option<IngressBackend>,
    /// In the user's order.
    pub rules: Vec<IngressRule>,
    /// In the user's order.
    pub tls: Vec<IngressTls>,
    /// Requests in plain text are sent to HTTPS.
    pub redirect: bool,
}

/// The paths of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IngressRule {
    /// Empty: every host. `*.` at its beginning stands for one label.
    pub host: String,
    /// Without any, all goes to the default backend.
    pub paths: Vec<IngressPath>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IngressPath {
    /// Begins with `/`.
    pub path: String,
    /// How it is matched.
    pub kind: PathType,
    /// Where requests go.
    pub backend: IngressBackend,
}

/// How a path is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PathType {
    /// Whole.
    Exact,
    /// By its first elements.
    Prefix,
    /// As the implementation likes: by its first elements.
    ImplementationSpecific,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum IngressBackend {
    /// A Service of the Ingress's namespace, by name, and one of its ports.
    Service(String, BackendPort),
    /// An object of another kind.
    Resource(String),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BackendPort {
    Number(u16),
    Name(String),
}

/// A certificate, and the hosts that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressTls {
    /// Without any, all hosts of the Ingress that no other entry names.
    pub hosts: Vec<String>,
    /// A Secret of the Ingress's namespace.
    pub secret: Option<String>,
}

/// What counts of an IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressClass {
    /// Who implements it.
    pub controller: String,
    /// Ingresses that name no class are of this one.
    pub is_default: bool,
    /// It names parameters, which nobody reads.
    pub has_parameters: bool,
}

impl Ingress {
    /// Hosts that it asks for; the empty one stands for all that nobody asks for.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&str> {
        let mut hosts: BTreeSet<&str> = self.rules.iter().map(|rule| &*rule.host).collect();
        if self.default_backend.is_some() {
            hosts.insert("");
            hosts.extend(
                self.tls
                    .iter()
                    .flat_map(|tls| &tls.hosts)
                    .map(String::as_str),
            );
        }
        hosts
    }
}
