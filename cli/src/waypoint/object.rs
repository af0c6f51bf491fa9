//! A waypoint's Gateway, as it is written and as it is read. Pure.

use serde_json::{Value, json};

/// Gateways of this class are waypoints.
pub(super) const CLASS: &str = "culvert-waypoint";
/// Names a waypoint.
pub(super) const USE_WAYPOINT: &str = "culvert.dev/use-waypoint";
/// Its namespace, if another one.
pub(super) const USE_WAYPOINT_NAMESPACE: &str = "culvert.dev/use-waypoint-namespace";
const WAYPOINT_FOR: &str = "culvert.dev/waypoint-for";
const REPLICAS: &str = "culvert.dev/waypoint-replicas";

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) purpose: &'static str,
    pub(super) replicas: Option<u16>,
}

/// The Gateway to apply.
pub(super) fn gateway(choices: &Choices) -> Value {
    let mut gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "name": choices.name,
            "namespace": choices.namespace,
            "labels": {WAYPOINT_FOR: choices.purpose},
        },
        "spec": {
            "gatewayClassName": CLASS,
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    });
    if let Some(replicas) = choices.replicas {
        gateway["metadata"]["annotations"] = json!({REPLICAS: replicas.to_string()});
    }
    gateway
}

/// A Gateway of the API server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a>(&'a Value);

impl<'a> Seen<'a> {
    pub(crate) fn of(gateway: &'a Value) -> Self {
        Self(gateway)
    }

    fn text(self, pointer: &str) -> &'a str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    pub(crate) fn namespace(self) -> &'a str {
        self.text("/metadata/namespace")
    }

    pub(crate) fn created(self) -> &'a str {
        self.text("/metadata/creationTimestamp")
    }

    pub(crate) fn class(self) -> &'a str {
        self.text("/spec/gatewayClassName")
    }

    pub(super) fn is_waypoint(self) -> bool {
        self.class() == CLASS
    }

    pub(super) fn purpose(self) -> &'a str {
        match self.0["metadata"]["labels"][WAYPOINT_FOR].as_str() {
            Some(purpose) => purpose,
            None => "service",
        }
    }

    pub(crate) fn addresses(self) -> Vec<&'a str> {
        let addresses = self
            .0
            .pointer("/status/addresses")
            .and_then(Value::as_array);
        let values = addresses.into_iter().flatten();
        values
            .filter_map(|address| address["value"].as_str())
            .collect()
    }

    pub(crate) fn conditions(self) -> Value {
        self.0
            .pointer("/status/conditions")
            .cloned()
            .unwrap_or_else(|| json!([]))
    }

    /// Status, reason and message. What was said of an earlier version of the object does not count.
    pub(crate) fn condition(self, kind: &str) -> (&'a str, &'a str, &'a str) {
        let conditions = self
            .0
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let found = conditions.into_iter().flatten().find(|c| c["type"] == kind);
        let Some(condition) = found else {
            return ("Unknown", "", "");
        };
        let observed = &condition["observedGeneration"];
        let generation = &self.0["metadata"]["generation"];
        if !observed.is_null() && !generation.is_null() && observed != generation {
            return (
                "Unknown",
                "Pending",
                "the controller has not looked at it yet",
            );
        }
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        (text("status"), text("reason"), text("message"))
    }

    /// Accepted, and ready for traffic.
    pub(crate) fn is_ready(self) -> bool {
        self.condition("Accepted").0 == "True" && self.condition("Programmed").0 == "True"
    }

    /// Why it is not ready.
    pub(super) fn why(self) -> String {
        let wrong = ["Accepted", "Programmed"].map(|kind| (kind, self.condition(kind)));
        let wrong = wrong
            .into_iter()
            .find(|(_, (status, ..))| *status != "True");
        match wrong {
            Some((kind, ("Unknown", "", ""))) => {
                format!("nobody has said {kind} of it: is the controller running?")
            }
            Some((kind, (_, reason, message))) => format!("{kind}: {reason}: {message}"),
            None => String::new(),
        }
    }

    /// For programs.
    pub(super) fn summary(self) -> Value {
        let (programmed, reason, message) = self.condition("Programmed");
        json!({
            "namespace": self.namespace(),
            "name": self.name(),
            "for": self.purpose(),
            "addresses": self.addresses(),
            "accepted": self.condition("Accepted").0 == "True",
            "programmed": programmed == "True",
            "reason": reason,
            "message": message,
            "created": self.created(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_that_is_applied() {
        let gateway = gateway(&Choices {
            namespace: "demo".into(),
            name: "waypoint".into(),
            purpose: "all",
            replicas: Some(2),
        });
        let expected = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  annotations:\n    \
                        culvert.dev/waypoint-replicas: \"2\"\n  labels:\n    culvert.dev/waypoint-for: all\n  \
                        name: waypoint\n  namespace: demo\nspec:\n  gatewayClassName: culvert-waypoint\n  \
                        listeners:\n    - name: mesh\n      port: 15008\n      protocol: HBONE\n";
        assert_eq!(culvert_runtime::yaml::of(&gateway), expected);
    }

    fn seen(generation: u32, programmed: &str) -> Value {
        json!({
            "metadata": {"name": "w", "namespace": "d", "generation": generation},
            "spec": {"gatewayClassName": CLASS},
            "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.9"}], "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 2},
                {"type": "Programmed", "status": programmed, "reason": "Pending", "message": "0 of 1",
                 "observedGeneration": 2}]},
        })
    }

    #[test]
    fn what_was_said_of_an_earlier_version_does_not_count() {
        assert!(Seen::of(&seen(2, "True")).is_ready());
        assert!(!Seen::of(&seen(3, "True")).is_ready());
        let pending = seen(2, "False");
        assert_eq!(Seen::of(&pending).why(), "Programmed: Pending: 0 of 1");
        let silent = json!({"metadata": {"name": "w"}});
        assert!(
            Seen::of(&silent)
                .why()
                .contains("is the controller running?")
        );
        assert_eq!(Seen::of(&silent).summary()["for"], "service");
    }
}
