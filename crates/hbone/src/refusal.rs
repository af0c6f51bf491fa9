//! The header by which a server says why it refused a CONNECT: `REASON` or `REASON;policy=NAMESPACE/NAME`.
//!
//! Invariant: what a peer says is a hint for logs. It never decides anything.

use culvert_policy::DenyReason;
use http::HeaderValue;
use http::header::HeaderName;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("culvert-deny-reason");
const POLICY: &str = ";policy=";
/// A longer text is cut out altogether.
const MAX: usize = 512;

pub(crate) fn format(reason: DenyReason, policy: Option<&str>) -> HeaderValue {
    let reason_only = HeaderValue::from_static(reason.as_str());
    match policy {
        Some(policy) => {
            HeaderValue::try_from(format!("{reason}{POLICY}{policy}")).unwrap_or(reason_only)
        }
        None => reason_only,
    }
}

pub(crate) fn parse(text: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(text) = text.filter(|text| text.len() <= MAX) else {
        return (None, None);
    };
    match text.split_once(POLICY) {
        Some((reason, policy)) => (Some(reason.to_owned()), Some(policy.to_owned())),
        None => (Some(text.to_owned()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for policy in [None, Some("shop/deny-all")] {
            let value = format(DenyReason::PolicyDeny, policy);
            let parsed = parse(Some(value.to_str().unwrap()));
            assert_eq!(
                parsed,
                (Some("policy_deny".to_owned()), policy.map(str::to_owned))
            );
        }
        assert_eq!(format(DenyReason::PolicyDeny, Some("a\nb")), "policy_deny");
        assert_eq!(parse(Some(&"x".repeat(MAX + 1))), (None, None));
    }
}
