//! Addresses that a Gateway asks for, and what becomes of that. Pure.
//!
//! Invariant: nobody gets an address by asking that the cluster's balancer has not given: a Service's `externalIPs`, by
//! which traffic of the whole cluster for any address could be taken, are never set.

use std::net::IpAddr;

use kube::api::DynamicObject;
use serde_json::Value;

use super::gateway::Refused;

/// One address that is asked for by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    Ip(IpAddr),
    Hostname(String),
}

impl Requested {
    /// Whether an address of a status is this one.
    fn is(&self, address: &Value) -> bool {
        let value = address["value"].as_str().unwrap_or_default();
        match self {
            Self::Ip(ip) => address["type"] == "IPAddress" && value.parse() == Ok(*ip),
            Self::Hostname(name) => {
                address["type"] == "Hostname" && value.eq_ignore_ascii_case(name)
            }
        }
    }
}

impl std::fmt::Display for Requested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Hostname(name) => f.write_str(name),
        }
    }
}

/// All that a Gateway asks for. One without a value is any of its type.
pub(super) fn read(gateway: &DynamicObject) -> Result<Vec<Requested>, Refused> {
    let addresses = gateway.data.pointer("/spec/addresses");
    let addresses = addresses.and_then(Value::as_array).into_iter().flatten();
    let mut requested = Vec::new();
    for (i, address) in addresses.enumerate() {
        let refused = |field: &str, message: String| {
            let message = format!("spec.addresses[{i}].{field}: {message}");
            Refused("UnsupportedAddress", message)
        };
        let value = address["value"].as_str().unwrap_or_default();
        let one = match address["type"].as_str().unwrap_or("IPAddress") {
            "IPAddress" if value.is_empty() => continue,
            "Hostname" if value.is_empty() => continue,
            "IPAddress" => {
                let ip = crate::admit::address(value);
                Requested::Ip(ip.map_err(|why| refused("value", why))?)
            }
            "Hostname" => {
                let name = crate::admit::dns_subdomain(value);
                name.map_err(|why| refused("value", why))?;
                Requested::Hostname(value.to_owned())
            }
            other => {
                let message = format!("{other:?} is neither IPAddress nor Hostname");
                return Err(refused("type", message));
            }
        };
        requested.push(one);
    }
    Ok(requested)
}

/// What a balancer is asked for: it can be asked for one.
pub(super) fn of_balancer(requested: &[Requested]) -> Option<IpAddr> {
    requested.iter().find_map(|one| match one {
        Requested::Ip(ip) => Some(*ip),
        Requested::Hostname(_) => None,
    })
}

/// Those that the Service has not got.
pub(super) fn missing(requested: &[Requested], addresses: &[Value]) -> Vec<String> {
    let has = |one: &Requested| addresses.iter().any(|address| one.is(address));
    let missing = requested.iter().filter(|one| !has(one));
    missing.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asking(addresses: &Value) -> Result<Vec<Requested>, Refused> {
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
            "spec": {"addresses": addresses},
        });
        read(&serde_json::from_value(gateway).unwrap())
    }

    #[test]
    fn addresses_and_names_with_and_without_a_value() {
        let asked = asking(&json!([
            {"type": "IPAddress"}, {"type": "Hostname", "value": ""}, {"value": "203.0.113.7"},
            {"type": "Hostname", "value": "lb.example.com"}, {"type": "IPAddress", "value": "2001:db8::7"},
        ]));
        let asked = asked.unwrap();
        let texts: Vec<_> = asked.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["203.0.113.7", "lb.example.com", "2001:db8::7"]);
        assert_eq!(of_balancer(&asked).unwrap().to_string(), "203.0.113.7");
        assert_eq!(of_balancer(&asked[1..2]), None);
        let given = [
            json!({"type": "IPAddress", "value": "203.0.113.7"}),
            json!({"type": "Hostname", "value": "LB.example.com"}),
        ];
        assert_eq!(missing(&asked, &given), ["2001:db8::7"]);
        // A name is no address, whatever it says.
        let odd = [json!({"type": "Hostname", "value": "203.0.113.7"})];
        assert_eq!(missing(&asked[..1], &odd), ["203.0.113.7"]);
    }

    #[test]
    fn what_is_no_address_names_its_field() {
        for (address, field) in [
            (
                json!({"type": "test/fake", "value": "x"}),
                "spec.addresses[1].type",
            ),
            (json!({"value": "x"}), "spec.addresses[1].value"),
            (json!({"value": "127.0.0.1"}), "spec.addresses[1].value"),
            (
                json!({"type": "Hostname", "value": "a b"}),
                "spec.addresses[1].value",
            ),
        ] {
            let addresses = json!([{"value": "203.0.113.7"}, address]);
            let Refused(reason, message) = asking(&addresses).unwrap_err();
            assert_eq!(reason, "UnsupportedAddress");
            assert!(message.starts_with(field), "{message}");
        }
    }
}
