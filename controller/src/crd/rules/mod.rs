//! What a schema says of single fields beyond their types, kind by kind. Every list and text is bounded, because
//! Kubernetes bounds the cost of the rules on them.

pub(super) mod authorization;
pub(super) mod egress;
pub(super) mod fault;
pub(super) mod mesh_config;
pub(super) mod peer_authentication;
mod resilience;
pub(super) mod service_entry;
mod targets;
pub(super) mod traffic;

use super::schema::{Fields, PathError};

const LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

/// A name, or the beginning, end or mere presence of one.
const PATTERN: &str = "!self.contains('*') || self.lastIndexOf('*') == 0 \
                       || self.indexOf('*') == self.size() - 1";
const PATTERN_MESSAGE: &str = "write a name, or one with '*' first or last, or '*' alone";

fn subdomain() -> String {
    format!("{LABEL}([.]{LABEL})*")
}

/// Labels that workloads must have.
fn selector(fields: &mut Fields, path: &str) -> Result<(), PathError> {
    let labels = format!("{path}.matchLabels");
    fields.at(&labels, &serde_json::json!({"maxProperties": 64}))?;
    fields.at(
        &format!("{labels}{{}}"),
        &serde_json::json!({"maxLength": 63}),
    )
}

/// A duration of more than nothing.
fn positive(fields: &mut Fields, path: &str) -> Result<(), PathError> {
    let rule = "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self) > duration('0s')";
    fields.rule(
        path,
        rule,
        "write a duration of more than zero, such as 500ms",
    )
}

/// Matches of headers by name and value.
fn headers(fields: &mut Fields, path: &str) -> Result<(), PathError> {
    fields.at(path, &serde_json::json!({"maxItems": 16}))?;
    let each = format!("{path}[]");
    fields.at(
        &format!("{each}.name"),
        &serde_json::json!({"minLength": 1, "maxLength": 256}),
    )?;
    fields.at(
        &format!("{each}.value"),
        &serde_json::json!({"maxLength": 1024}),
    )?;
    fields.rule(
        &format!("{each}.name"),
        "self.matches(\"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$\")",
        "write the name of a header, such as x-user",
    )?;
    // An expression that is none is an error of the rule.
    fields.rule(
        &each,
        "self.type != 'RegularExpression' || 'x'.matches(self.value) || !'x'.matches(self.value)",
        "write a regular expression of RE2 as the value",
    )
}
