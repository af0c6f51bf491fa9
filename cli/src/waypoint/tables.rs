//! Waypoints as people read them.

use std::fmt::Write as _;

use serde_json::Value;

use super::api::User;
use super::object::Seen;
use crate::table::Table;

/// One line for each.
pub(super) fn list(gateways: &[Value]) -> Table {
    let headings = [
        "namespace",
        "name",
        "for",
        "address",
        "programmed",
        "reason",
        "created",
    ];
    let mut table = Table::new(&headings);
    for gateway in gateways {
        let seen = Seen::of(gateway);
        let (programmed, reason, _) = seen.condition("Programmed");
        table.row([
            seen.namespace().to_owned(),
            seen.name().to_owned(),
            seen.purpose().to_owned(),
            seen.addresses().join(","),
            programmed.to_owned(),
            reason.to_owned(),
            seen.created().to_owned(),
        ]);
    }
    table
}

/// Where a Gateway is reached.
pub(crate) fn place(seen: Seen<'_>) -> String {
    match seen.addresses().join(", ") {
        addresses if addresses.is_empty() => "no address yet".to_owned(),
        addresses => addresses,
    }
}

/// Conditions of a Gateway.
pub(crate) fn conditions(seen: Seen<'_>) -> Table {
    let mut table = Table::new(&["condition", "status", "reason", "message"]);
    for kind in ["Accepted", "Programmed", "ResolvedRefs"] {
        let (status, reason, message) = seen.condition(kind);
        table.row([kind, status, reason, message].map(str::to_owned));
    }
    table
}

/// Conditions of one, and who uses it.
pub(super) fn status(gateway: &Value, users: &[User]) -> String {
    let seen = Seen::of(gateway);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "waypoint {}/{} for {} at {}\n",
        seen.namespace(),
        seen.name(),
        seen.purpose(),
        place(seen)
    );
    let _ = writeln!(text, "{}", conditions(seen));
    if users.is_empty() {
        text.push_str(
            "nothing asks for it: label a Namespace, Service or Pod culvert.dev/use-waypoint\n",
        );
    } else {
        let mut table = Table::new(&["used by", "name"]);
        for user in users {
            table.row([user.kind.to_owned(), user.full_name()]);
        }
        let _ = write!(text, "{table}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waypoint_and_its_users() {
        let gateway = json!({
            "metadata": {"name": "w", "namespace": "d", "creationTimestamp": "2026-11-21T09:00:00Z"},
            "spec": {"gatewayClassName": "culvert-waypoint"},
            "status": {"addresses": [{"value": "10.96.0.9"}], "conditions": [
                {"type": "Programmed", "status": "False", "reason": "Pending", "message": "0 of 1 instances are ready"}]},
        });
        let user = User {
            kind: "Service",
            namespace: "d".into(),
            name: "web".into(),
        };
        assert_eq!(
            list(std::slice::from_ref(&gateway)).to_string(),
            "NAMESPACE   NAME   FOR       ADDRESS     PROGRAMMED   REASON    CREATED\n\
             d           w      service   10.96.0.9   False        Pending   2026-11-21T09:00:00Z\n"
        );
        assert_eq!(
            status(&gateway, &[user]),
            "waypoint d/w for service at 10.96.0.9\n\n\
             CONDITION      STATUS    REASON    MESSAGE\n\
             Accepted       Unknown   -         -\n\
             Programmed     False     Pending   0 of 1 instances are ready\n\
             ResolvedRefs   Unknown   -         -\n\n\
             USED BY   NAME\nService   d/web\n"
        );
    }
}
