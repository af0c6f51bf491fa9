//! BackendTLSPolicies as JSON. Of certificate authorities their number.

use boring::x509::X509;
use culvert_proto::waypoint as pb;
use serde_json::{Value, json};

use super::{list, object, service, text};

/// A BackendTLSPolicy.
pub(in crate::control) fn backend_tls(raw: &pb::BackendTlsPolicy) -> Value {
    use pb::backend_tls_policy::Trust;
    let target = |target: &pb::BackendTlsTarget| match &target.kind {
        Some(pb::backend_tls_target::Kind::Service(raw)) => service(raw),
        None => Value::Null,
    };
    let trust = match &raw.trust {
        None => Value::Null,
        Some(Trust::System(_)) => "System".into(),
        Some(Trust::Unresolved(reason)) => json!({ "unresolved": reason }),
        Some(Trust::CertificateAuthorities(pem)) => {
            let all = X509::stack_from_pem(pem.as_bytes()).unwrap_or_default();
            json!({ "certificateAuthorities": all.len() })
        }
    };
    object([
        ("namespace", text(&raw.namespace)),
        ("name", text(&raw.name)),
        ("targetRefs", list(&raw.targets, target)),
        ("hostname", text(&raw.hostname)),
        (
            "subjectAltNames",
            list(&raw.subject_alt_names, |name| match &name.kind {
                Some(pb::subject_alt_name::Kind::Hostname(host)) => json!({ "hostname": host }),
                Some(pb::subject_alt_name::Kind::Uri(uri)) => json!({ "uri": uri }),
                None => Value::Null,
            }),
        ),
        ("trust", trust),
    ])
}
