//! Labels of a client.
//!
//! Invariant: the namespace and the principal come from the certificate. The rest is what the client's node proxy says,
//! for telemetry alone, and only where it is a plain name.

use std::sync::Arc;

use culvert_hbone::headers::Baggage;
use culvert_identity::SpiffeId;

use super::UNKNOWN;

/// Longest name that is taken.
const MAX_NAME: usize = 253;

/// The client's labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceLabels {
    /// The name of what created it, such as a Deployment.
    pub workload: Arc<str>,
    /// From the certificate.
    pub namespace: Arc<str>,
    /// From the certificate, with its scheme.
    pub principal: Arc<str>,
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// The version of that service.
    pub revision: Arc<str>,
    /// Its cluster.
    pub cluster: Arc<str>,
}

impl SourceLabels {
    /// Labels of a client outside the mesh: nothing is known of it.
    pub fn outside() -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        Self {
            workload: Arc::clone(&unknown),
            namespace: Arc::clone(&unknown),
            principal: Arc::clone(&unknown),
            service: Arc::clone(&unknown),
            revision: Arc::clone(&unknown),
            cluster: unknown,
        }
    }

    /// Labels of the client `id`, about whom its node proxy says `baggage`.
    pub fn new(id: &SpiffeId, baggage: Option<&Baggage>) -> Self {
        let of = |field: fn(&Baggage) -> Option<&str>| name(baggage.and_then(field));
        Self {
            workload: of(|baggage| baggage.workload.as_ref().map(|(_, name)| &**name)),
            namespace: id.namespace().into(),
            principal: id.as_str().into(),
            service: of(|baggage| baggage.service.as_deref()),
            revision: of(|baggage| baggage.version.as_deref()),
            cluster: of(|baggage| baggage.cluster.as_deref()),
        }
    }
}

/// A label's value: a plain name, or unknown.
fn name(raw: Option<&str>) -> Arc<str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let plain = |name: &&str| (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed);
    raw.filter(plain).unwrap_or(UNKNOWN).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(baggage: &str) -> SourceLabels {
        let id: SpiffeId = "spiffe://cluster.local/ns/demo/sa/curl".parse().unwrap();
        SourceLabels::new(&id, Baggage::parse(baggage).as_ref())
    }

    #[test]
    fn names_become_labels_and_the_identity_stays() {
        let labels = labels(
            "k8s.cluster.name=c1,k8s.namespace.name=forged,k8s.deployment.name=curl,service.name=s",
        );
        assert_eq!(
            (&*labels.cluster, &*labels.workload, &*labels.service),
            ("c1", "curl", "s")
        );
        assert_eq!((&*labels.namespace, &*labels.revision), ("demo", UNKNOWN));
        assert_eq!(&*labels.principal, "spiffe://cluster.local/ns/demo/sa/curl");
    }

    #[test]
    fn nothing_odd_is_taken() {
        let long = format!("service.name={}", "a".repeat(254));
        for baggage in [
            "",
            "service.name=",
            "service.name=a%20b",
            "service.name=%22",
            &long,
        ] {
            assert_eq!(&*labels(baggage).service, UNKNOWN, "{baggage}");
        }
    }
}
