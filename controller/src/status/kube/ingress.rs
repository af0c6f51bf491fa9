//! What an Ingress is told: where it is reached. It has no conditions, so that what is wrong with it is told in Events.
//! Pure.

use serde_json::{Value, json};

use crate::source::Rejection;
use crate::source::kube::Told;
use crate::status::document::Condition;

/// The addresses of its gateway, as that one's status has them, in the form that an Ingress has.
pub(super) fn addresses(gateway: Option<&Told>) -> Vec<Value> {
    let addresses = gateway.and_then(|told| told.status["addresses"].as_array());
    let address = |address: &Value| match address["type"].as_str().unwrap_or("IPAddress") {
        "IPAddress" => Some(json!({"ip": address["value"]})),
        "Hostname" => Some(json!({"hostname": address["value"]})),
        _ => None,
    };
    addresses
        .into_iter()
        .flatten()
        .filter_map(address)
        .collect()
}

/// The status that an Ingress is to have; none if it has it already.
pub(super) fn status(told: &Told, addresses: &[Value]) -> Option<Value> {
    let before = told.status["loadBalancer"]["ingress"].as_array();
    let before = before.map(Vec::as_slice).unwrap_or_default();
    // What else is said of an address (errors of ports) is not ours.
    let same = |(one, other): (&Value, &Value)| {
        ["ip", "hostname"]
            .iter()
            .all(|key| one[*key] == other[*key])
    };
    if before.len() == addresses.len() && before.iter().zip(addresses).all(same) {
        return None;
    }
    let list = if addresses.is_empty() {
        Value::Null
    } else {
        addresses.into()
    };
    Some(json!({"loadBalancer": {"ingress": list}}))
}

/// What is wrong, in the form of conditions: by its field, so that each is told once.
pub(super) fn wrong(found: &[Condition], rejected: &[Rejection]) -> Value {
    let bad = |field: &str, reason: &str, message: &str| {
        let field = if field.is_empty() { "Ingress" } else { field };
        json!({"type": field, "status": "False", "reason": reason, "message": message})
    };
    let found = found.iter().filter(|condition| condition.status == "False");
    let found = found.map(|c| bad(&c.field, c.reason, &c.message));
    let rejected = rejected
        .iter()
        .map(|r| bad(&r.field, "Invalid", &r.message));
    json!({"conditions": found.chain(rejected).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Effect;
    use crate::status::kube::conditions::bad;

    fn told(status: Value) -> Told {
        Told {
            status,
            ..Told::default()
        }
    }

    #[test]
    fn an_ingress_has_the_addresses_of_its_gateway() {
        let gateway = told(json!({"addresses": [
            {"type": "IPAddress", "value": "203.0.113.7"}, {"type": "Hostname", "value": "lb.example.com"},
            {"type": "example.com/other", "value": "x"}, {"value": "fd00::7"}]}));
        let addresses = addresses(Some(&gateway));
        let expected =
            json!([{"ip": "203.0.113.7"}, {"hostname": "lb.example.com"}, {"ip": "fd00::7"}]);
        assert_eq!(json!(addresses), expected);
        let new = status(&told(json!({"loadBalancer": {}})), &addresses);
        assert_eq!(new, Some(json!({"loadBalancer": {"ingress": expected}})));
        let mut listed = expected;
        listed[0]["ports"] = json!([{"port": 80, "protocol": "TCP"}]);
        let known = told(json!({"loadBalancer": {"ingress": listed}}));
        assert_eq!(status(&known, &addresses), None);
        let gone = status(&known, &super::addresses(None));
        assert_eq!(gone, Some(json!({"loadBalancer": {"ingress": null}})));
        assert_eq!(status(&told(json!(null)), &[]), None);
    }

    #[test]
    fn each_mistake_is_told_by_its_field() {
        let condition = |kind, status, reason, field: &str| {
            Condition::new(kind, status, reason, "m".into(), field.into())
        };
        let found = [
            condition("Accepted", "False", "HostNotOwned", "spec.rules[0].host"),
            condition("Accepted", "False", "HostNotOwned", "spec.rules[1].host"),
            condition("ResolvedRefs", "True", "ResolvedRefs", ""),
            condition("Programmed", "False", "Pending", ""),
        ];
        let rejected = [Rejection {
            file: None,
            line: 0,
            object: "Ingress a/b".into(),
            field: "spec.rules[2].host".into(),
            message: "n".into(),
            effect: Effect::LastGood,
        }];
        let told = bad(&wrong(&found, &rejected));
        let told: Vec<_> = told
            .iter()
            .map(|(kind, reason, _)| (kind.as_str(), reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("spec.rules[0].host", "HostNotOwned"),
                ("spec.rules[1].host", "HostNotOwned"),
                ("Ingress", "Pending"),
                ("spec.rules[2].host", "Invalid"),
            ]
        );
    }
}
