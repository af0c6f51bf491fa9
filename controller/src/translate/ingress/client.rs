//! What a gateway proves itself with to backends.

use super::secret::secret;
use crate::model::{Gateway, Kind, NsName, Obj};
use crate::world::World;

/// What a gateway proves itself with to backends.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// A Secret with a certificate that may be used.
    pub(super) secret: Option<NsName>,
    /// What is wrong with it: a word for programs, and a sentence for people.
    pub(super) wrong: Option<(&'static str, String)>,
}

impl Client {
    /// Why there is none though there should be.
    pub(super) fn refused(&self) -> String {
        let wrong = self.wrong.as_ref().filter(|_| self.secret.is_none());
        wrong.map_or_else(String::new, |(_, message)| message.clone())
    }
}

pub(super) fn client(world: &World, gateway: &Obj<Gateway>) -> Client {
    const INVALID: &str = "InvalidClientCertificateRef";
    let own = (Kind::Gateway, &*gateway.meta.name.namespace);
    let reference = gateway.spec.client_certificate.as_ref();
    match reference.map(|reference| secret(world, own, reference)) {
        None => Client::default(),
        Some(Ok((name, problem))) => Client {
            secret: Some(name),
            wrong: problem.map(|problem| (INVALID, problem)),
        },
        Some(Err((permitted, message))) => Client {
            secret: None,
            wrong: Some((
                if permitted {
                    INVALID
                } else {
                    "RefNotPermitted"
                },
                message,
            )),
        },
    }
}
