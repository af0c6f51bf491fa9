//! Gateways as people read them, and as programs do.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::table::Table;
use crate::waypoint::{Seen, conditions, place};

/// For programs.
pub(super) fn summary(gateway: &Value) -> Value {
    let seen = Seen::of(gateway);
    let (programmed, reason, message) = seen.condition("Programmed");
    json!({
        "namespace": seen.namespace(),
        "name": seen.name(),
        "class": seen.class(),
        "addresses": seen.addresses(),
        "routes": routes(gateway),
        "accepted": seen.condition("Accepted").0 == "True",
        "programmed": programmed == "True",
        "reason": reason,
        "message": message,
        "created": seen.created(),
    })
}

/// One line for each.
pub(super) fn list(gateways: &[Value]) -> Table {
    let headings = [
        "namespace",
        "name",
        "class",
        "address",
        "routes",
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
            seen.class().to_owned(),
            seen.addresses().join(","),
            routes(gateway).to_string(),
            programmed.to_owned(),
            reason.to_owned(),
            seen.created().to_owned(),
        ]);
    }
    table
}

/// Conditions of one, and what is to be said of its listeners.
pub(super) fn status(gateway: &Value) -> String {
    let seen = Seen::of(gateway);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "gateway {}/{} of class {} at {}\n",
        seen.namespace(),
        seen.name(),
        seen.class(),
        place(seen)
    );
    let _ = writeln!(text, "{}", conditions(seen));
    let headings = ["listener", "port", "protocol", "host", "routes", "problem"];
    let mut table = Table::new(&headings);
    for listener in items(&gateway["spec"]["listeners"]) {
        let told = items(&gateway["status"]["listeners"]);
        let told = told.iter().find(|it| it["name"] == listener["name"]);
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.row([
            text(&listener["name"]),
            text(&listener["port"]),
            text(&listener["protocol"]),
            text(&listener["hostname"]),
            told.map(|it| text(&it["attachedRoutes"]))
                .unwrap_or_default(),
            told.map_or("not looked at yet".to_owned(), problem),
        ]);
    }
    let _ = write!(text, "{table}");
    text
}

/// How many routes are attached to all listeners.
fn routes(gateway: &Value) -> u64 {
    let listeners = items(&gateway["status"]["listeners"]);
    let counts = listeners.iter().map(|it| it["attachedRoutes"].as_u64());
    counts.flatten().sum()
}

/// The first condition of a listener that is as it should not be, the cause before what follows from it.
fn problem(listener: &Value) -> String {
    let conditions = items(&listener["conditions"]);
    for (kind, good) in [
        ("Conflicted", "False"),
        ("Accepted", "True"),
        ("ResolvedRefs", "True"),
        ("Programmed", "True"),
    ] {
        let found = conditions.iter().find(|it| it["type"] == kind);
        if let Some(bad) = found.filter(|it| it["status"] != good) {
            let word = |key: &str| bad[key].as_str().unwrap_or_default();
            return match word("message") {
                "" => word("reason").to_owned(),
                message => format!("{}: {message}", word("reason")),
            };
        }
    }
    String::new()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_and_its_listeners() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
        let gateway = json!({
            "metadata": {"name": "edge", "namespace": "shop", "creationTimestamp": "2026-11-21T09:00:00Z"},
            "spec": {"gatewayClassName": "culvert", "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP"},
                {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "shop.example.com"},
                {"name": "new", "port": 8080, "protocol": "HTTP"}]},
            "status": {"addresses": [{"value": "203.0.113.7"}],
                "conditions": [condition("Programmed", "True", "Programmed", "1 of 1 instances are ready")],
                "listeners": [
                    {"name": "http", "attachedRoutes": 2, "conditions": [condition("Programmed", "True", "Programmed", "")]},
                    {"name": "https", "attachedRoutes": 1, "conditions": [
                        condition("Programmed", "False", "Invalid", "see the other conditions"),
                        condition("ResolvedRefs", "False", "InvalidCertificateRef", "Secret shop/web is not there")]}]},
        });
        assert_eq!(summary(&gateway)["routes"], 3);
        assert_eq!(
            list(std::slice::from_ref(&gateway)).to_string(),
            "NAMESPACE   NAME   CLASS     ADDRESS       ROUTES   PROGRAMMED   REASON       CREATED\n\
             shop        edge   culvert   203.0.113.7   3        True         Programmed   2026-11-21T09:00:00Z\n"
        );
        assert_eq!(
            status(&gateway),
            "gateway shop/edge of class culvert at 203.0.113.7\n\n\
             CONDITION      STATUS    REASON       MESSAGE\n\
             Accepted       Unknown   -            -\n\
             Programmed     True      Programmed   1 of 1 instances are ready\n\
             ResolvedRefs   Unknown   -            -\n\n\
             LISTENER   PORT   PROTOCOL   HOST               ROUTES   PROBLEM\n\
             http       80     HTTP       -                  2        -\n\
             https      443    HTTPS      shop.example.com   1        InvalidCertificateRef: Secret shop/web is not there\n\
             new        8080   HTTP       -                  -        not looked at yet\n"
        );
    }
}
