//! PeerAuthentication.

use crate::api::PeerAuthenticationSpec;
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

pub(super) fn check(_meta: &Meta, spec: &PeerAuthenticationSpec, issues: &mut Issues) {
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|s| !s.match_labels.is_empty());
    if !spec.port_level_mtls.is_empty() && !selects {
        issues.add(FieldPath::of("spec.portLevelMtls"), "needs a selector");
    }
}
