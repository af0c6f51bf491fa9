//! AuthorizationPolicy.

use serde_json::json;

use super::{Fields, LABEL, PATTERN, PATTERN_MESSAGE, PathError, subdomain, targets};

const SOURCE: [&str; 12] = [
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "requestPrincipals",
    "notRequestPrincipals",
];
const OPERATION: [&str; 8] = [
    "ports",
    "notPorts",
    "hosts",
    "notHosts",
    "methods",
    "notMethods",
    "paths",
    "notPaths",
];

const ACCOUNT: &str = "self.matches('^[a-z0-9./-]+$')";
const ACCOUNT_MESSAGE: &str = "write NAME, or NAMESPACE/NAME of a service account";

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    super::selector(fields, "selector")?;
    targets::apply(fields, &["Service", "ServiceEntry", "Gateway"])?;
    fields.rule(
        "",
        "!has(self.selector) || !has(self.targetRefs) || self.targetRefs.size() == 0",
        "write either selector (pods enforce it) or targetRefs (their waypoint does), not both",
    )?;
    fields.rule(
        "",
        "self.action != 'DENY' || (has(self.rules) && self.rules.size() > 0)",
        "a DENY policy without rules denies nothing: write rules, rules: [{}] to deny everything",
    )?;
    fields.at("rules", &json!({"maxItems": 32}))?;
    for list in ["from", "to", "when"] {
        fields.at(&format!("rules[].{list}"), &json!({"maxItems": 16}))?;
    }
    sources(fields, "rules[].from[].source")?;
    operations(fields, "rules[].to[].operation")?;
    conditions(fields, "rules[].when[]")
}

/// One of these lists has an element.
fn any_set(lists: &[&str]) -> String {
    let set = lists
        .iter()
        .map(|list| format!("(has(self.{list}) && self.{list}.size() > 0)"));
    set.collect::<Vec<_>>().join(" || ")
}

fn sources(fields: &mut Fields, at: &str) -> Result<(), PathError> {
    fields.rule(
        at,
        &any_set(&SOURCE),
        "set a field, such as principals or namespaces; leave `from` out for every source",
    )?;
    for (lists, length) in [
        (&SOURCE[..2], 384),
        (&SOURCE[2..4], 64),
        (&SOURCE[4..6], 320),
    ] {
        for list in lists {
            fields.texts(&format!("{at}.{list}"), 32, length)?;
        }
    }
    for list in &SOURCE[6..8] {
        fields.at(&format!("{at}.{list}"), &json!({"maxItems": 64}))?;
    }
    for list in &SOURCE[8..] {
        fields.texts(&format!("{at}.{list}"), 64, 1024)?;
    }
    for list in &SOURCE[..2] {
        let each = format!("{at}.{list}[]");
        let message = "write principals without spiffe://, such as cluster.local/ns/demo/sa/web";
        fields.rule(&each, "!self.startsWith('spiffe://')", message)?;
    }
    for list in &SOURCE[..4] {
        fields.rule(&format!("{at}.{list}[]"), PATTERN, PATTERN_MESSAGE)?;
    }
    for list in &SOURCE[4..6] {
        let each = format!("{at}.{list}[]");
        let form = format!("^({LABEL}/)?{}$", subdomain());
        fields.at(&each, &json!({"pattern": form}))?;
        // The form in CEL would cost too much; this says the same of most mistakes, with words.
        fields.rule(&each, ACCOUNT, ACCOUNT_MESSAGE)?;
    }
    Ok(())
}

fn operations(fields: &mut Fields, at: &str) -> Result<(), PathError> {
    fields.rule(
        at,
        &any_set(&OPERATION),
        "set a field, such as ports; leave `to` out for every operation",
    )?;
    for list in &OPERATION[..2] {
        fields.at(&format!("{at}.{list}"), &json!({"maxItems": 64}))?;
    }
    for list in &OPERATION[2..] {
        fields.texts(&format!("{at}.{list}"), 64, 1024)?;
    }
    Ok(())
}

fn conditions(fields: &mut Fields, at: &str) -> Result<(), PathError> {
    fields.at(
        &format!("{at}.key"),
        &json!({"minLength": 1, "maxLength": 256}),
    )?;
    fields.rule(
        &format!("{at}.key"),
        "self in ['source.ip', 'source.namespace', 'source.principal', 'source.serviceAccount', \
         'destination.ip', 'destination.port', 'remote.ip', 'connection.sni'] \
         || self.startsWith('request.')",
        "write source.ip, source.namespace, source.principal, source.serviceAccount, destination.ip, \
         destination.port, remote.ip, connection.sni or request.*",
    )?;
    fields.rule(
        at,
        &any_set(&["values", "notValues"]),
        "write values or notValues",
    )?;
    for list in ["values", "notValues"] {
        fields.texts(&format!("{at}.{list}"), 32, 320)?;
        let all = |rule: &str| format!("!has(self.{list}) || self.{list}.all(value, {rule})");
        let ip = "isIP(value) || isCIDR(value)";
        fields.rule(
            at,
            &all(&format!(
                "!(self.key in ['source.ip', 'destination.ip']) || {ip}"
            )),
            "write address blocks such as 10.0.0.0/8 as the values of source.ip and destination.ip",
        )?;
        let port = "(int(value) >= 1 && int(value) <= 65535)";
        fields.rule(
            at,
            &all(&format!("self.key != 'destination.port' || {port}")),
            "write ports from 1 to 65535 as the values of destination.port",
        )?;
        fields.rule(
            at,
            &all("self.key != 'source.principal' || !value.startsWith('spiffe://')"),
            "write principals without spiffe://, such as cluster.local/ns/demo/sa/web",
        )?;
        let names = format!("({})", PATTERN.replace("self", "value"));
        fields.rule(
            at,
            &all(&format!(
                "!(self.key in ['source.principal', 'source.namespace']) || {names}"
            )),
            PATTERN_MESSAGE,
        )?;
        let account = ACCOUNT.replace("self", "value");
        fields.rule(
            at,
            &all(&format!("self.key != 'source.serviceAccount' || {account}")),
            ACCOUNT_MESSAGE,
        )?;
    }
    Ok(())
}
