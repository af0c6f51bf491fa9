//! What a Gateway asks of clients where TLS ends there.

use std::collections::BTreeMap;

use super::listener::references;
use crate::api::{ClientValidation, GatewayTls, ValidationMode};
use crate::model::{Frontend, Validation};
use crate::path::{FieldPath, Issues};

pub(super) fn admit(tls: Option<&GatewayTls>, issues: &mut Issues) -> Frontend {
    let Some(written) = tls.and_then(|tls| tls.frontend.as_ref()) else {
        return Frontend::default();
    };
    let at = FieldPath::of("spec.tls.frontend");
    let default = written.default.validation.as_ref();
    let default = default.map(|one| validation(one, &at.key("default"), issues));
    let mut ports = BTreeMap::new();
    for (i, of_port) in written.per_port.iter().enumerate() {
        let at = at.key("perPort").index(i);
        let own = of_port.tls.validation.as_ref();
        let own = own.map(|one| validation(one, &at.key("tls"), issues));
        if ports.insert(of_port.port.get(), own).is_some() {
            issues.add(at.key("port"), "stands twice");
        }
    }
    Frontend { default, ports }
}

fn validation(written: &ClientValidation, at: &FieldPath, issues: &mut Issues) -> Validation {
    let at = at.key("validation").key("caCertificateRefs");
    let written_refs = &written.ca_certificate_refs;
    if written_refs.is_empty() {
        issues.add(at.clone(), "is empty");
    }
    Validation {
        authorities: references(written_refs, "ConfigMap", &at, issues),
        fallback: written.mode == ValidationMode::AllowInsecureFallback,
    }
}
