//! TrafficPolicy.

use serde_json::json;

use super::resilience;
use super::{Fields, PathError, positive, targets};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    targets::apply(
        fields,
        &["Service", "ServiceEntry", "HTTPRoute", "GRPCRoute"],
    )?;
    targets::required(fields)?;
    resilience::apply(fields)?;
    fields.rule(
        "timeouts",
        "!has(self.request) || !has(self.backendRequest) || duration(self.request) == duration('0s') \
         || duration(self.backendRequest) <= duration(self.request)",
        "write a backendRequest that is no longer than request: a try is part of the whole",
    )?;
    fields.at("retries.attempts", &json!({"maximum": 100}))?;
    fields.at("retries.retryOn", &json!({"maxLength": 512}))?;
    fields.rule(
        "retries.retryOn",
        "self.split(',').all(word, word.trim() == '' || word.trim().matches('^[45][0-9][0-9]$') \
         || word.trim() in ['connect-failure', 'reset', '5xx', 'gateway-error', 'retriable-4xx', \
         'per-try-timeout', 'cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', \
         'unavailable'])",
        "write, with commas between them, status codes from 400 to 599, connect-failure, reset, 5xx, \
         gateway-error, retriable-4xx, per-try-timeout, cancelled, deadline-exceeded, internal, \
         resource-exhausted or unavailable",
    )?;
    positive(fields, "retries.perTryTimeout")?;
    fields.at("retryConstraint.budget.percent", &json!({"maximum": 100}))?;
    positive(fields, "retryConstraint.budget.interval")?;
    positive(fields, "retryConstraint.minRetryRate.interval")
}
