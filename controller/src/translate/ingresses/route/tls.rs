//! What is wrong with the certificates that an Ingress names.

use super::super::{claims, gateway};
use super::Making;
use crate::model::NsName;
use crate::path::FieldPath;

impl Making<'_> {
    /// Say what is wrong with each entry of `spec.tls`.
    pub(super) fn certificates(&mut self) {
        const INVALID: &str = "InvalidCertificateRef";
        let (world, spec, own) = (self.world, &self.ingress.spec, &self.ingress.meta.name);
        for (i, tls) in spec.tls.iter().enumerate() {
            let at = FieldPath::of("spec.tls").index(i);
            let Some(secret) = &tls.secret else {
                let message = "is missing: TLS ends here, with a certificate".to_owned();
                self.unresolved(INVALID, at.key("secretName"), message);
                continue;
            };
            let secret = NsName::new(own.namespace.clone(), secret.as_str());
            if let Some(message) = gateway::wrong(world, &secret) {
                self.unresolved(INVALID, at.key("secretName"), message);
            }
            let hosts = spec.hosts();
            let served =
                |host: &&str| claims::entry(spec, host).is_some_and(|(place, _)| place == i);
            let mut used = hosts.into_iter().filter(served).peekable();
            if used.peek().is_none() {
                let message = "no rule is for any of them".to_owned();
                self.refuse("UnsupportedValue", at.key("hosts"), message);
            }
            for host in used {
                let claims = claims::of(world, host).filter(|claims| claims.admits(own));
                let other = claims.and_then(|claims| claims.certificate());
                if let Some(other) = other.filter(|other| other.secret != secret) {
                    let message = format!(
                        "the older Ingress {} has a certificate for {host} already: that one is used",
                        other.by.meta.name
                    );
                    self.refuse("CertificateConflict", at.key("secretName"), message);
                }
            }
        }
    }
}
