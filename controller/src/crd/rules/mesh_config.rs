//! MeshConfig.

use serde_json::{Value, json};

use super::{Fields, LABEL, PathError, subdomain};

/// Of the whole object.
pub(in super::super) fn object() -> Value {
    json!([{"rule": "self.metadata.name == 'default'",
            "message": "name it default: there is one MeshConfig"}])
}

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    for (field, length) in [
        ("trustDomain", 255),
        ("clusterID", 253),
        ("clusterDomain", 253),
        ("rootNamespace", 63),
    ] {
        fields.at(field, &json!({"minLength": 1, "maxLength": length}))?;
    }
    fields.rule(
        "trustDomain",
        "self.matches('^[a-z0-9_-]+([.][a-z0-9_-]+)*$')",
        "write a trust domain such as cluster.local: lower-case letters, digits, '.', '_' and '-'",
    )?;
    fields.rule(
        "clusterID",
        "!self.contains('/') && !self.contains('~') && !self.contains(' ')",
        "write a name without '/', '~' or space",
    )?;
    fields.rule(
        "clusterDomain",
        &format!("self.matches('^{}$')", subdomain()),
        "write a DNS name such as cluster.local",
    )?;
    fields.rule(
        "rootNamespace",
        &format!("self.matches('^{LABEL}$')"),
        "write the name of a namespace such as culvert-system",
    )?;
    fields.at("clusterCIDRs", &json!({"maxItems": 64}))?;
    fields.texts("serviceEntries.exportFrom", 256, 63)?;
    fields.rule(
        "serviceEntries.exportFrom[]",
        &format!("self == '*' || self.matches('^{LABEL}$')"),
        "write the name of a namespace, or '*' for every one",
    )?;
    fields.at("serviceEntries.addressRanges", &json!({"maxItems": 2}))?;
    fields.rule(
        "certificateTTL",
        "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') \
         || (duration(self) >= duration('2s') && duration(self) <= duration('8760h'))",
        "write a duration between 2s and 8760h",
    )
}
