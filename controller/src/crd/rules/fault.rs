//! FaultPolicy.

use serde_json::json;

use super::{Fields, LABEL, PathError, subdomain, targets};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    targets::apply(fields, &["Service", "HTTPRoute", "GRPCRoute"])?;
    targets::required(fields)?;
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
    for member in ["delay", "abort"] {
        fields.rule(
            &format!("{member}.percentage.value"),
            "self >= 0.0 && self <= 100.0 \
             && self * 100.0 - double(int(self * 100.0 + 0.5)) < 0.000001 \
             && double(int(self * 100.0 + 0.5)) - self * 100.0 < 0.000001",
            "write a percentage from 0 to 100 in steps of 0.01",
        )?;
    }
    fields.at("abort.httpStatus", &json!({"minimum": 200, "maximum": 599}))?;
    fields.rule(
        "abort",
        "has(self.httpStatus) || has(self.grpcStatus)",
        "write httpStatus, grpcStatus or both",
    )?;
    fields.rule(
        "",
        "has(self.delay) || has(self.abort)",
        "write delay, abort or both",
    )
}
