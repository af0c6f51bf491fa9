//! FaultPolicy.

use serde_json::json;

use super::{Fields, LABEL, PathError, positive, subdomain, targets};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    targets::apply(
        fields,
        &["Service", "ServiceEntry", "HTTPRoute", "GRPCRoute"],
    )?;
    super::selector(fields, "selector")?;
    super::headers(fields, "match.headers")?;
    fields.texts("match.principals", 64, 384)?;
    fields.rule(
        "match.principals[]",
        &format!(
            "self.matches('^[a-z0-9_-]+([.][a-z0-9_-]+)*/ns/{LABEL}/sa/{}$')",
            subdomain()
        ),
        "write TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, without spiffe://",
    )?;
    for member in [
        "delay",
        "abort",
        "tcp.delay",
        "tcp.reset",
        "tcp.blackhole",
        "tcp.throttle",
    ] {
        fields.rule(
            &format!("{member}.percentage.value"),
            "self >= 0.0 && self <= 100.0 \
             && self * 100.0 - double(int(self * 100.0 + 0.5)) < 0.000001 \
             && double(int(self * 100.0 + 0.5)) - self * 100.0 < 0.000001",
            "write a percentage from 0 to 100 in steps of 0.01",
        )?;
    }
    delay(fields, "delay")?;
    delay(fields, "tcp.delay")?;
    fields.at("abort.httpStatus", &json!({"minimum": 200, "maximum": 599}))?;
    fields.rule(
        "abort",
        "has(self.httpStatus) || has(self.grpcStatus)",
        "write httpStatus, grpcStatus or both",
    )?;
    fields.at("tcp.throttle.bytesPerSecond", &json!({"minimum": 1}))?;
    fields.rule(
        "tcp",
        "has(self.delay) || has(self.reset) || has(self.blackhole) || has(self.throttle)",
        "write at least one of delay, reset, blackhole and throttle",
    )?;
    positive(fields, "duration")?;
    whole(fields)
}

/// One of four ways to say how long, with a bound.
fn delay(fields: &mut Fields, path: &str) -> Result<(), PathError> {
    fields.rule(
        path,
        "[has(self.fixedDelay), has(self.uniform), has(self.normal), has(self.exponential)]\
         .filter(stated, stated).size() == 1",
        "write exactly one of fixedDelay, uniform, normal and exponential",
    )?;
    let hour = "!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self) <= duration('1h')";
    for longest in ["fixedDelay", "uniform.max", "normal.max", "exponential.max"] {
        let message = "write a duration of at most 1h";
        fields.rule(&format!("{path}.{longest}"), hour, message)?;
    }
    positive(fields, &format!("{path}.exponential.mean"))?;
    for (kind, low) in [
        ("uniform", "min"),
        ("normal", "mean"),
        ("exponential", "mean"),
    ] {
        fields.rule(
            &format!("{path}.{kind}"),
            &format!("duration(self.{low}) <= duration(self.max)"),
            &format!("write a {low} that is no longer than max"),
        )?;
    }
    Ok(())
}

/// What goes together.
fn whole(fields: &mut Fields) -> Result<(), PathError> {
    let targeted = "(has(self.targetRefs) && self.targetRefs.size() > 0)";
    fields.rule(
        "",
        &format!("{targeted} != has(self.selector)"),
        "write either targetRefs, with at least one target such as {kind: Service, name: web}, or selector",
    )?;
    fields.rule(
        "selector",
        "self.matchLabels.size() > 0",
        "write at least one label in matchLabels",
    )?;
    fields.rule(
        "",
        "has(self.delay) || has(self.abort) || has(self.tcp)",
        "write at least one of delay, abort and tcp",
    )?;
    fields.rule(
        "",
        "!has(self.selector) || (!has(self.delay) && !has(self.abort))",
        "write selector beside tcp alone: delay and abort are for requests to targetRefs",
    )?;
    fields.rule(
        "",
        "!has(self.tcp) || !has(self.targetRefs) || self.targetRefs.all(t, t.kind == 'Service')",
        "write tcp in a policy whose targets are Services: it strikes connections where pods take them",
    )?;
    fields.rule(
        "",
        "!has(self.tcp) || !has(self.match) || !has(self.match.headers) || self.match.headers.size() == 0",
        "write tcp in a policy without match.headers: connections have none",
    )
}
