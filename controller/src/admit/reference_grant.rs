//! ReferenceGrants.

use super::names::{dns_label, dns_subdomain};
use crate::api::ReferenceGrantSpec;
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check(_meta: &Meta, spec: &ReferenceGrantSpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    for (i, from) in spec.from.iter().enumerate() {
        let at = at.key("from").index(i).key("namespace");
        issues.take(&at, dns_label(&from.namespace));
    }
    for (i, to) in spec.to.iter().enumerate() {
        if let Some(name) = to.name.as_deref().filter(|name| !name.is_empty()) {
            issues.take(&at.key("to").index(i).key("name"), dns_subdomain(name));
        }
    }
}
