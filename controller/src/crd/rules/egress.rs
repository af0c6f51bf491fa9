//! EgressPolicy.

use serde_json::json;

use super::{Fields, PathError};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    super::selector(fields, "selector")?;
    fields.at("egress", &json!({"maxItems": 32}))?;
    fields.at("egress[].to", &json!({"maxItems": 32}))?;
    fields.rule(
        "egress[].to",
        "self.size() > 0",
        "write at least one cidr or host: 0.0.0.0/0 and ::/0 are every address",
    )?;
    fields.at("egress[].to[].except", &json!({"maxItems": 16}))?;
    fields.at("egress[].ports", &json!({"maxItems": 16}))?;
    let peer = "egress[].to[]";
    fields.rule(
        peer,
        "has(self.cidr) != has(self.host)",
        "write either cidr, such as 192.0.2.0/24, or host, such as api.example.com",
    )?;
    fields.rule(
        peer,
        "has(self.cidr) || !has(self.except) || self.except.size() == 0",
        "write except beside cidr alone",
    )?;
    let host = "egress[].to[].host";
    fields.at(host, &json!({"minLength": 1, "maxLength": 253}))?;
    let label = "[a-z0-9_]([-_a-z0-9]{0,61}[a-z0-9_])?";
    fields.rule(
        host,
        &format!("self.matches('^([*][.])?{label}([.]{label})*$') && !self.matches('(^|[.])[0-9]+$')"),
        "write a name such as api.example.com, or *.example.com for every name below it; addresses are a cidr",
    )?;
    fields.rule(
        "egress[].ports[]",
        "!has(self.endPort) || int(self.endPort) >= int(self.port)",
        "write an endPort that is no lower than port",
    )
}
