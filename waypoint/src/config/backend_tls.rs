//! One BackendTLSPolicy.
//!
//! Invariant: a policy that cannot be followed keeps its targets, which are then not reached. It never leaves them to be
//! spoken to in plain text, or without verification.

use std::sync::Arc;

use boring::x509::X509;
use culvert_proto::waypoint as pb;
use pb::backend_tls_policy::Trust as RawTrust;
use pb::backend_tls_target::Kind as RawTarget;
use pb::subject_alt_name::Kind as RawName;

use super::certificate::brief;
use super::route::Hostname;
use super::{ConfigError, ServiceRef, decode_all};
use crate::tls::client::{TlsSettings, Trust};
use crate::tls::names::Name;

/// How TLS is begun at some backends.
#[derive(Debug)]
pub struct BackendTlsPolicy {
    /// `NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// What it is for.
    pub targets: Vec<Target>,
    /// How, or why not at all.
    pub settings: Result<TlsSettings, String>,
}

/// What a policy is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A service, or one of its ports.
    Service(ServiceRef),
}

impl BackendTlsPolicy {
    /// Decodes a policy, and says what is wrong with it: what it is for is then refused. Wrong targets are an error of the
    /// whole.
    pub fn decode(raw: &pb::BackendTlsPolicy) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let known = |target: &pb::BackendTlsTarget| match &target.kind {
            Some(RawTarget::Service(service)) => {
                let service = ServiceRef::decode(service).map_err(|e| e.within("service"))?;
                Ok(Some(Target::Service(service)))
            }
            None => Ok(None),
        };
        let targets = decode_all("targets", &raw.targets, known)?;
        let (settings, error) = match settings(raw) {
            Ok(settings) => (settings, None),
            Err(error) => (Err(error.to_string()), Some(error)),
        };
        let policy = Self {
            name: format!("{}/{}", raw.namespace, raw.name).into(),
            targets: targets.into_iter().flatten().collect(),
            settings,
        };
        Ok((policy, error))
    }
}

/// The settings, or why the user's own could not be resolved.
fn settings(raw: &pb::BackendTlsPolicy) -> Result<Result<TlsSettings, String>, ConfigError> {
    let trust = match &raw.trust {
        Some(RawTrust::Unresolved(reason)) => return Ok(Err(reason.clone())),
        Some(RawTrust::System(true)) => Trust::System,
        Some(RawTrust::CertificateAuthorities(pem)) => {
            let wrong = |message: String| ConfigError::new("certificate_authorities", message);
            let all = X509::stack_from_pem(pem.as_bytes()).map_err(|e| wrong(brief(&e)))?;
            if all.is_empty() {
                return Err(wrong("holds no certificate".into()));
            }
            Trust::Authorities(all)
        }
        Some(RawTrust::System(false)) | None => {
            return Err(ConfigError::new("trust", "is missing"));
        }
    };
    let host = match Hostname::decode(&raw.hostname) {
        Ok(Hostname::Exact(host)) => host,
        Ok(Hostname::Wildcard(_) | Hostname::Label(_)) | Err(_) => {
            let message = format!("`{}` is not the name of a host", raw.hostname);
            return Err(ConfigError::new("hostname", message));
        }
    };
    let mut names = decode_all("subject_alt_names", &raw.subject_alt_names, name)?;
    if names.is_empty() {
        names.push(Name::Host(Hostname::Exact(host.clone())));
    }
    Ok(Ok(TlsSettings {
        server_name: host,
        names,
        trust,
    }))
}

fn name(raw: &pb::SubjectAltName) -> Result<Name, ConfigError> {
    match &raw.kind {
        Some(RawName::Hostname(host)) => {
            let host = Hostname::decode(host).map_err(|error| error.within("hostname"))?;
            Ok(Name::Host(host))
        }
        Some(RawName::Uri(uri)) if !uri.is_empty() => Ok(Name::Uri(uri.as_str().into())),
        Some(RawName::Uri(_)) => Err(ConfigError::new("uri", "is empty")),
        None => Err(ConfigError::new("kind", "is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::certificate::testing::ecdsa;

    fn policy(trust: Option<RawTrust>) -> pb::BackendTlsPolicy {
        let service = pb::ServiceRef {
            service: "d/web".into(),
            port: 443,
        };
        pb::BackendTlsPolicy {
            namespace: "d".into(),
            name: "p".into(),
            targets: vec![pb::BackendTlsTarget {
                kind: Some(RawTarget::Service(service)),
            }],
            hostname: "Web.example".into(),
            trust,
            ..Default::default()
        }
    }

    fn authorities(pem: &str) -> Option<RawTrust> {
        Some(RawTrust::CertificateAuthorities(pem.into()))
    }

    #[test]
    fn the_hostname_is_the_name_unless_there_are_others() {
        let mut raw = policy(authorities(&ecdsa(&["ca"]).chain));
        let (decoded, error) = BackendTlsPolicy::decode(&raw).unwrap();
        assert_eq!((&*decoded.name, error), ("d/p", None));
        let settings = decoded.settings.unwrap();
        let host = Hostname::Exact("web.example".into());
        assert_eq!(
            (&*settings.server_name, &settings.names),
            ("web.example", &vec![Name::Host(host)])
        );
        let uri = RawName::Uri("spiffe://d/x".into());
        raw.subject_alt_names = vec![pb::SubjectAltName { kind: Some(uri) }];
        let (decoded, _) = BackendTlsPolicy::decode(&raw).unwrap();
        let settings = decoded.settings.unwrap();
        assert_eq!(settings.names, [Name::Uri("spiffe://d/x".into())]);
    }

    #[test]
    fn what_cannot_be_followed_keeps_its_targets() {
        let good = policy(Some(RawTrust::System(true)));
        let odd = |change: &dyn Fn(&mut pb::BackendTlsPolicy)| {
            let mut raw = good.clone();
            change(&mut raw);
            raw
        };
        let nothing = pb::SubjectAltName { kind: None };
        for (raw, expected) in [
            (policy(None), "trust: is missing"),
            (policy(Some(RawTrust::System(false))), "trust: is missing"),
            (
                policy(authorities("")),
                "certificate_authorities: holds no certificate",
            ),
            (
                odd(&|raw| raw.hostname = "*.example".into()),
                "hostname: `*.example` is not the name of a host",
            ),
            (
                odd(&|raw| raw.hostname.clear()),
                "hostname: `` is not the name of a host",
            ),
            (
                odd(&|raw| raw.subject_alt_names = vec![nothing.clone()]),
                "subject_alt_names[0].kind: is missing",
            ),
        ] {
            let (decoded, error) = BackendTlsPolicy::decode(&raw).unwrap();
            assert_eq!(error.unwrap().to_string(), expected);
            assert_eq!(decoded.settings.unwrap_err(), expected);
            assert_eq!(decoded.targets.len(), 1);
        }
        // What the user got wrong is no mistake of the controller's.
        let unresolved = policy(Some(RawTrust::Unresolved("no ConfigMap".into())));
        let (decoded, error) = BackendTlsPolicy::decode(&unresolved).unwrap();
        assert_eq!(error, None);
        assert_eq!(decoded.settings.unwrap_err(), "no ConfigMap");
        assert_eq!(decoded.targets.len(), 1);
    }

    #[test]
    fn targets_of_a_kind_of_tomorrow_are_left_out() {
        let mut raw = policy(Some(RawTrust::System(true)));
        raw.targets.push(pb::BackendTlsTarget { kind: None });
        let (decoded, error) = BackendTlsPolicy::decode(&raw).unwrap();
        assert_eq!((decoded.targets.len(), error), (1, None));
        raw.targets.push(pb::BackendTlsTarget {
            kind: Some(RawTarget::Service(pb::ServiceRef::default())),
        });
        let error = BackendTlsPolicy::decode(&raw).unwrap_err().to_string();
        assert!(error.starts_with("targets[2].service"), "{error}");
    }
}
