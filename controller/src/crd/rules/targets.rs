//! `targetRefs`.

use serde_json::json;

use super::{Fields, LABEL, PathError, subdomain};

/// References to `kinds` in the policy's own namespace.
pub(super) fn apply(fields: &mut Fields, kinds: &[&str]) -> Result<(), PathError> {
    fields.at("targetRefs", &json!({"maxItems": 16}))?;
    fields.at("targetRefs[].kind", &json!({"enum": kinds}))?;
    fields.at("targetRefs[].group", &json!({"maxLength": 253}))?;
    fields.at(
        "targetRefs[].name",
        &json!({"minLength": 1, "maxLength": 253}),
    )?;
    fields.at("targetRefs[].namespace", &json!({"maxLength": 63}))?;
    fields.at(
        "targetRefs[].sectionName",
        &json!({"minLength": 1, "maxLength": 63}),
    )?;
    fields.rule(
        "targetRefs[].name",
        &format!("self.matches('^{}$')", subdomain()),
        "write the name of an object: lower-case letters, digits, '-' and '.'",
    )?;
    fields.rule(
        "targetRefs[].sectionName",
        &format!("self.matches('^{LABEL}$')"),
        "write the name of a port: lower-case letters, digits and '-'",
    )?;
    fields.rule(
        "targetRefs[]",
        "self.kind == 'Service' ? self.group in ['', 'core'] : self.kind == 'ServiceEntry' \
         ? self.group == 'culvert.dev' : self.group == 'gateway.networking.k8s.io'",
        "write group: \"\" for a Service, group: culvert.dev for a ServiceEntry, group: gateway.networking.k8s.io for the others",
    )?;
    fields.rule(
        "targetRefs[]",
        "!has(self.sectionName) || self.kind in ['Service', 'ServiceEntry']",
        "write sectionName only for a Service or ServiceEntry: it names one of its ports",
    )
}

/// At least one.
pub(super) fn required(fields: &mut Fields) -> Result<(), PathError> {
    fields.rule(
        "targetRefs",
        "self.size() > 0",
        "name at least one target, such as {kind: Service, name: web}",
    )
}
