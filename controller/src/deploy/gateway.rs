//! A Gateway of our class, as far as deploying it needs it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{CLASS, GATEWAY_CLASS_NAME, GATEWAY_NAME, MANAGED_BY, MANAGER};
use crate::admit::dns_label;
use crate::keys;
use crate::model::{Object, Purpose};

/// What a person wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// As the annotation says; none leaves it to whoever scales.
    pub(super) replicas: Option<u32>,
    /// Which traffic goes through it.
    pub(super) purpose: Purpose,
    /// For all that is made.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Why a Gateway is not accepted: a word for programs, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str, pub(super) String);

/// Whether a Gateway is one of ours.
pub(super) fn is_ours(gateway: &DynamicObject) -> bool {
    gateway
        .data
        .pointer("/spec/gatewayClassName")
        .and_then(Value::as_str)
        == Some(CLASS)
}

/// The names of its listeners.
pub(super) fn listeners(gateway: &DynamicObject) -> Vec<String> {
    let listeners = gateway
        .data
        .pointer("/spec/listeners")
        .and_then(Value::as_array);
    let name = |listener: &Value| listener["name"].as_str().map(str::to_owned);
    listeners.into_iter().flatten().filter_map(name).collect()
}

/// Read a Gateway of our class.
pub(super) fn read(gateway: &DynamicObject) -> Result<Wanted, Refused> {
    let mut value = gateway.data.clone();
    value["apiVersion"] = "gateway.networking.k8s.io/v1".into();
    value["kind"] = "Gateway".into();
    let metadata = serde_json::to_value(&gateway.metadata);
    value["metadata"] = metadata.map_err(|error| Refused("Invalid", error.to_string()))?;
    let admitted = crate::admit::admit(&value).map_err(|refusal| {
        let first = refusal.issues.first();
        let message = first.map(|issue| format!("{}: {}", issue.field, issue.message));
        Refused("Invalid", message.unwrap_or_default())
    })?;
    let Object::Gateway(admitted) = admitted else {
        return Err(Refused("Invalid", "it is no Gateway".into()));
    };
    let ObjectMeta {
        uid, annotations, ..
    } = &gateway.metadata;
    let name = &admitted.meta.name;
    dns_label(&name.name).map_err(|why| {
        Refused(
            "Invalid",
            format!("metadata.name: {why}: its Service has the same name"),
        )
    })?;
    let infrastructure = gateway.data.pointer("/spec/infrastructure");
    if infrastructure.is_some_and(|i| i.get("parametersRef").is_some_and(|p| !p.is_null())) {
        let message = format!(
            "spec.infrastructure.parametersRef: no parameters are known; for the number of instances write the \
             annotation {}",
            keys::WAYPOINT_REPLICAS
        );
        return Err(Refused("InvalidParameters", message));
    }
    let replicas = annotations
        .as_ref()
        .and_then(|a| a.get(keys::WAYPOINT_REPLICAS));
    let replicas = replicas.map(|text| replicas_of(text)).transpose()?;
    let spec_addresses = gateway
        .data
        .pointer("/spec/addresses")
        .and_then(Value::as_array);
    if spec_addresses.is_some_and(|addresses| !addresses.is_empty()) {
        let message = "spec.addresses: leave it out: a waypoint has the address of its Service";
        return Err(Refused("UnsupportedAddress", message.into()));
    }
    let waypoint = admitted.spec.waypoint.as_ref();
    Ok(Wanted {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        uid: uid.clone().unwrap_or_default(),
        replicas,
        purpose: waypoint.map_or(Purpose::Service, |waypoint| waypoint.purpose),
        labels: texts(infrastructure, "labels"),
        annotations: texts(infrastructure, "annotations"),
    })
}

fn replicas_of(text: &str) -> Result<u32, Refused> {
    match text.parse() {
        Ok(replicas @ 1..=1000) => Ok(replicas),
        _ => {
            let at = format!("metadata.annotations[{}]", keys::WAYPOINT_REPLICAS);
            let message = format!("{at}: {text:?} is no number of instances from 1 to 1000");
            Err(Refused("Invalid", message))
        }
    }
}

fn texts(infrastructure: Option<&Value>, member: &str) -> BTreeMap<String, String> {
    let map = infrastructure
        .and_then(|i| i.get(member))
        .and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    map.into_iter().flatten().filter_map(text).collect()
}

impl Wanted {
    /// The labels of everything that is made: the person's, and ours, which nobody changes.
    pub(super) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (key, value) in [
            (GATEWAY_NAME, &*self.name),
            (GATEWAY_CLASS_NAME, CLASS),
            (MANAGED_BY, MANAGER),
            ("app.kubernetes.io/name", CLASS),
            ("app.kubernetes.io/part-of", "culvert"),
            (keys::DATAPLANE_MODE, "none"),
            (keys::USE_WAYPOINT, "none"),
        ] {
            labels.insert(key.into(), value.into());
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(change: impl Fn(&mut Value)) -> DynamicObject {
        let mut value = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "waypoint", "namespace": "demo", "uid": "u1"},
            "spec": {"gatewayClassName": "culvert-waypoint",
                     "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_person_wants() {
        let wanted = read(&gateway(|g| {
            g["metadata"]["annotations"] = json!({"culvert.dev/waypoint-replicas": "2"});
            g["spec"]["infrastructure"] = json!({
                "labels": {"team": "web", "gateway.networking.k8s.io/gateway-name": "other"},
                "annotations": {"note": "x"}});
        }))
        .unwrap();
        assert_eq!(wanted.replicas, Some(2));
        assert_eq!(wanted.all_labels()["team"], "web");
        // Ours are not to be changed.
        assert_eq!(wanted.all_labels()[GATEWAY_NAME], "waypoint");
        assert_eq!(wanted.annotations["note"], "x");
    }

    #[test]
    fn what_is_not_accepted_says_why() {
        for (change, reason, says) in [
            (
                (|g: &mut Value| g["spec"]["listeners"][0]["protocol"] = json!("HTTP"))
                    as fn(&mut Value),
                "Invalid",
                "spec.listeners[0].protocol",
            ),
            (
                |g| g["metadata"]["name"] = json!("a.b"),
                "Invalid",
                "metadata.name: \"a.b\"",
            ),
            (
                |g| g["metadata"]["annotations"] = json!({"culvert.dev/waypoint-replicas": "many"}),
                "Invalid",
                "metadata.annotations[culvert.dev/waypoint-replicas]: \"many\"",
            ),
            (
                |g| g["spec"]["addresses"] = json!([{"value": "10.0.0.1"}]),
                "UnsupportedAddress",
                "spec.addresses",
            ),
            (
                |g| {
                    g["spec"]["infrastructure"] =
                        json!({"parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"}});
                },
                "InvalidParameters",
                "culvert.dev/waypoint-replicas",
            ),
        ] {
            let Refused(word, sentence) = read(&gateway(change)).unwrap_err();
            assert_eq!(word, reason, "{sentence}");
            assert!(sentence.contains(says), "{sentence}");
        }
    }
}
