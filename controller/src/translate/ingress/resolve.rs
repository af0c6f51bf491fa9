//! What a listener's references lead to: certificates of its own, and of authorities that judge its clients'.

use std::collections::BTreeMap;

use culvert_proto::waypoint as wire;

use super::secret::secret;
use crate::model::{Gateway, Kind, Listener, NsName, Obj, Validation};
use crate::translate::ca::{self, Unresolved};
use crate::world::World;

/// What a Gateway asks of clients, by its fields.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    default: Option<Asked>,
    ports: BTreeMap<u16, Option<Asked>>,
}

/// What is asked of clients.
#[derive(Debug)]
pub(super) struct Asked {
    /// As instances are told it. None: no certificate of an authority could be resolved.
    pub(super) wire: Option<wire::ClientValidation>,
    /// What could not be resolved.
    wrong: Vec<(&'static str, String)>,
}

impl Authorities {
    pub(super) fn of(world: &World, gateway: &Obj<Gateway>) -> Self {
        let own = &gateway.meta.name.namespace;
        let frontend = &gateway.spec.frontend;
        let ask = |validation: &Validation| Asked::of(world, own, validation);
        let ports = frontend.ports.iter();
        Self {
            default: frontend.default.as_ref().map(ask),
            ports: ports
                .map(|(port, own)| (*port, own.as_ref().map(ask)))
                .collect(),
        }
    }

    /// What is asked at a port where TLS ends here.
    pub(super) fn at(&self, port: u16) -> Option<&Asked> {
        match self.ports.get(&port) {
            Some(own) => own.as_ref(),
            None => self.default.as_ref(),
        }
    }
}

impl Asked {
    fn of(world: &World, own: &str, validation: &Validation) -> Self {
        let (mut certificates, mut wrong) = (Vec::new(), Vec::new());
        for reference in &validation.authorities {
            let namespace = reference.namespace.as_deref().unwrap_or(own);
            let name = NsName::new(namespace, reference.name.as_str());
            let kind = (reference.group.as_str(), reference.kind.as_str());
            match ca::resolve(world, (Kind::Gateway, own), kind, &name) {
                Ok(found) => certificates.push(found),
                Err(unresolved) => {
                    let reason = match &unresolved {
                        Unresolved::Kind(_) => "InvalidCACertificateKind",
                        Unresolved::NotPermitted(_) => "RefNotPermitted",
                        Unresolved::Invalid(_) => "InvalidCACertificateRef",
                    };
                    wrong.push((reason, unresolved.message().to_owned()));
                }
            }
        }
        let wire = (!certificates.is_empty()).then(|| wire::ClientValidation {
            authorities: certificates.join("\n"),
            allow_insecure_fallback: validation.fallback,
        });
        Self { wire, wrong }
    }
}

/// What a listener's references lead to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Secrets with a certificate that may be used.
    pub(super) secrets: Vec<NsName>,
    /// It needs a certificate and has none.
    pub(super) lacks_certificate: bool,
    /// It asks clients for one, and there is no authority to judge it by.
    pub(super) lacks_authority: bool,
    /// The first that is wrong gives the word.
    pub(super) wrong: Option<(&'static str, String)>,
}

impl Resolved {
    /// Whether no handshake can come about.
    pub(super) fn is_unusable(&self) -> bool {
        self.lacks_certificate || self.lacks_authority
    }

    fn add(&mut self, reason: &'static str, message: String) {
        match &mut self.wrong {
            Some((_, all)) => *all = format!("{all}; {message}"),
            None => self.wrong = Some((reason, message)),
        }
    }
}

pub(super) fn resolve(
    world: &World,
    gateway: &NsName,
    listener: &Listener,
    authorities: &Authorities,
) -> Resolved {
    const INVALID: &str = "InvalidCertificateRef";
    let mut resolved = Resolved::default();
    let own = listener.owner(gateway);
    if listener.terminates() {
        if listener.certificates.is_empty() {
            resolved.add(INVALID, "tls.certificateRefs: is empty".into());
        }
        for reference in &listener.certificates {
            let name = match secret(world, own, reference) {
                Ok((name, None)) => name,
                Ok((name, Some(problem))) => {
                    resolved.add(INVALID, problem);
                    name
                }
                Err((permitted, message)) => {
                    let reason = if permitted {
                        INVALID
                    } else {
                        "RefNotPermitted"
                    };
                    resolved.add(reason, message);
                    continue;
                }
            };
            if !resolved.secrets.contains(&name) {
                resolved.secrets.push(name);
            }
        }
        resolved.lacks_certificate = resolved.secrets.is_empty();
        if let Some(asked) = authorities.at(listener.port) {
            for (reason, message) in &asked.wrong {
                resolved.add(reason, format!("spec.tls.frontend: {message}"));
            }
            resolved.lacks_authority = asked.wire.is_none();
        }
    }
    if !listener.strange_kinds.is_empty() {
        let message = format!(
            "allowedRoutes.kinds: {} cannot be attached to it",
            listener.strange_kinds.join(", ")
        );
        resolved.add("InvalidRouteKinds", message);
    }
    resolved
}
