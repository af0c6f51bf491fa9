//! The header by which a server says why it refused a CONNECT: `REASON` or `REASON;policy=NAMESPACE/NAME`.
//!
//! Invariant: what a peer says is a hint for logs. It never decides anything.

use crate::headers::is_sendable;
use culvert_policy::DenyReason;

pub(crate) const HEADER: &str = "culvert-deny-reason";
const POLICY: &str = ";policy=";
/// A longer text is cut out altogether.
const MAX: usize = 512;

pub(crate) fn format(reason: DenyReason, policy: Option<&str>) -> String {
    match policy.filter(|policy| is_sendable(policy)) {
        Some(policy) => format!("{reason}{POLICY}{policy}"),
        None => reason.as_str().to_owned(),
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
            let parsed = parse(Some(&value));
            assert_eq!(
                parsed,
                (Some("policy_deny".to_owned()), policy.map(str::to_owned))
            );
        }
        assert_eq!(format(DenyReason::PolicyDeny, Some("a\nb")), "policy_deny");
        assert_eq!(parse(Some(&"x".repeat(MAX + 1))), (None, None));
    }
}
