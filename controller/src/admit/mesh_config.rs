//! MeshConfig.

use std::time::Duration;

use culvert_identity::TrustDomain;

use super::names::{dns_label, dns_subdomain};
use crate::api::MeshConfigSpec;
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

/// The only one that counts.
const NAME: &str = "default";
/// Certificates of less than this would be renewed without pause.
const SHORTEST: Duration = Duration::from_secs(2);
/// The root lives for ten years.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn check(meta: &Meta, spec: &MeshConfigSpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    if &*meta.name.name != NAME {
        let message = format!("the one MeshConfig is named {NAME:?}");
        issues.add(FieldPath::of("metadata.name"), message);
    }
    issues.take(&at.key("trustDomain"), TrustDomain::new(&spec.trust_domain));
    issues.take(
        &at.key("clusterDomain"),
        dns_subdomain(&spec.cluster_domain),
    );
    issues.take(&at.key("rootNamespace"), dns_label(&spec.root_namespace));
    if spec.cluster_id.is_empty() || spec.cluster_id.contains(['/', '~', ' ']) {
        let message = format!(
            "{:?} is no name of a cluster: not empty, no '/', '~' or space",
            spec.cluster_id
        );
        issues.add(at.key("clusterID"), message);
    }
    let entries = at.key("serviceEntries");
    for (i, namespace) in spec.service_entries.export_from.iter().enumerate() {
        if namespace != "*" {
            let at = entries.key("exportFrom").index(i);
            issues.take(&at, dns_label(namespace));
        }
    }
    let ranges = &spec.service_entries.address_ranges;
    for (i, range) in ranges.iter().enumerate() {
        let net = range.get();
        let hosts = net.max_prefix_len() - net.prefix_len();
        let at = entries.key("addressRanges").index(i);
        if hosts < 8 {
            issues.add(at.clone(), format!("{range} has less than 256 addresses"));
        }
        let before = ranges.iter().take(i).map(|range| range.get().addr());
        if before
            .clone()
            .any(|other| other.is_ipv4() == net.addr().is_ipv4())
        {
            issues.add(at, format!("{range} is the second range of its family"));
        }
    }
    let ttl = spec.certificate_ttl.get();
    if !(SHORTEST..=LONGEST).contains(&ttl) {
        issues.add(at.key("certificateTTL"), "is not between 2s and 8760h");
    }
}
