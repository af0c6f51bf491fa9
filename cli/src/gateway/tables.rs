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

/// A ListenerSet for programs.
pub(super) fn set(set: &Value) -> Value {
    json!({
        "namespace": set["metadata"]["namespace"],
        "name": set["metadata"]["name"],
        "conditions": set["status"]["conditions"],
        "listeners": set["status"]["listeners"],
    })
}

/// Conditions of one, and what is to be said of its listeners and of its ListenerSets'.
pub(super) fn status(gateway: &Value, sets: &[Value]) -> String {
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
    for row in listeners(gateway) {
        table.row(row);
    }
    let _ = write!(text, "{table}");
    if !sets.is_empty() {
        let headings = [
            "listener set",
            "listener",
            "port",
            "protocol",
            "host",
            "routes",
            "problem",
        ];
        let mut table = Table::new(&headings);
        for set in sets {
            let seen = Seen::of(set);
            let name = format!("{}/{}", seen.namespace(), seen.name());
            for [listener, port, protocol, host, routes, mut problem] in listeners(set) {
                let (accepted, reason, message) = seen.condition("Accepted");
                if accepted == "False" && items(&set["status"]["listeners"]).is_empty() {
                    problem = format!("{reason}: {message}");
                }
                let name = name.clone();
                table.row([name, listener, port, protocol, host, routes, problem]);
            }
        }
        let _ = write!(text, "\n{table}");
    }
    text
}

/// A row for each listener of a Gateway or ListenerSet.
fn listeners(object: &Value) -> impl Iterator<Item = [String; 6]> {
    let told = items(&object["status"]["listeners"]);
    items(&object["spec"]["listeners"]).iter().map(|listener| {
        let told = told.iter().find(|it| it["name"] == listener["name"]);
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        [
            text(&listener["name"]),
            text(&listener["port"]),
            text(&listener["protocol"]),
            text(&listener["hostname"]),
            told.map(|it| text(&it["attachedRoutes"]))
                .unwrap_or_default(),
            told.map_or("not looked at yet".to_owned(), problem),
        ]
    })
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
            status(&gateway, &[]),
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

    #[test]
    fn listeners_of_sets_stand_below_the_gateways_own() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
        let gateway = json!({
            "metadata": {"name": "shared", "namespace": "infra"},
            "spec": {"gatewayClassName": "culvert", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        });
        let set = |namespace: &str, status: Value| {
            json!({
                "metadata": {"name": "web", "namespace": namespace},
                "spec": {"parentRef": {"name": "shared", "namespace": "infra"},
                         "listeners": [{"name": "https", "port": 443, "protocol": "HTTPS", "hostname": format!("{namespace}.org")}]},
                "status": status,
            })
        };
        let lost = condition(
            "Conflicted",
            "True",
            "HostnameConflict",
            "port 443 is taken",
        );
        let sets = [
            set(
                "a",
                json!({"listeners": [{"name": "https", "attachedRoutes": 2, "conditions": []}]}),
            ),
            set(
                "b",
                json!({"listeners": [{"name": "https", "attachedRoutes": 0, "conditions": [lost]}]}),
            ),
            set(
                "c",
                json!({"conditions": [condition("Accepted", "False", "NotAllowed", "no")]}),
            ),
        ];
        let text = status(&gateway, &sets);
        let (_, of_sets) = text.split_once("LISTENER SET").unwrap();
        let rows: Vec<Vec<_>> = of_sets
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[0],
            ["a/web", "https", "443", "HTTPS", "a.org", "2", "-"]
        );
        assert_eq!(
            rows[1].join(" "),
            "b/web https 443 HTTPS b.org 0 HostnameConflict: port 443 is taken"
        );
        assert_eq!(
            rows[2].join(" "),
            "c/web https 443 HTTPS c.org - NotAllowed: no"
        );
        assert_eq!(super::set(&sets[0])["listeners"][0]["attachedRoutes"], 2);
    }
}
