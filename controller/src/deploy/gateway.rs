//! A Gateway of a class of ours, as far as deploying it needs it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;

use super::class::{Role, class_of};
use super::exposure::Exposure;
use super::{GATEWAY_CLASS_NAME, GATEWAY_NAME, MANAGED_BY, MANAGER};
use crate::admit::dns_label;
use crate::keys;
use crate::model::{Object, Purpose};

/// What a person wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// The name of its class.
    pub(super) class: String,
    /// As the annotation says; none leaves it to whoever scales.
    pub(super) replicas: Option<u32>,
    /// What its instances take.
    pub(super) takes: Takes,
    /// For all that is made.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What instances take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// HBONE from the mesh, for this traffic.
    Hbone(Purpose),
    /// What listeners say, from anybody.
    Listeners(Exposure),
}

impl Takes {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Hbone(_) => Role::Waypoint,
            Self::Listeners(_) => Role::Gateway,
        }
    }
}

/// Why a Gateway is not accepted: a word for programs, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str, pub(super) String);

/// The names of its listeners.
pub(super) fn listeners(gateway: &DynamicObject) -> Vec<String> {
    let listeners = gateway
        .data
        .pointer("/spec/listeners")
        .and_then(Value::as_array);
    let name = |listener: &Value| listener["name"].as_str().map(str::to_owned);
    listeners.into_iter().flatten().filter_map(name).collect()
}

/// Read a Gateway of a class of ours.
pub(super) fn read(gateway: &DynamicObject, role: Role) -> Result<Wanted, Refused> {
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
    let replicas_key = role.replicas_key();
    if infrastructure.is_some_and(|i| i.get("parametersRef").is_some_and(|p| !p.is_null())) {
        let message = format!(
            "spec.infrastructure.parametersRef: no parameters are known; for the number of instances write the \
             annotation {replicas_key}"
        );
        return Err(Refused("InvalidParameters", message));
    }
    let replicas = annotations.as_ref().and_then(|a| a.get(replicas_key));
    let replicas = replicas.map(|text| replicas_of(replicas_key, text));
    let replicas = replicas.transpose()?;
    let spec_addresses = gateway
        .data
        .pointer("/spec/addresses")
        .and_then(Value::as_array);
    let addressed = spec_addresses.is_some_and(|addresses| !addresses.is_empty());
    if addressed && role == Role::Waypoint {
        let message =
            "spec.addresses: leave it out: a waypoint has the address of its Service".into();
        return Err(Refused("UnsupportedAddress", message));
    }
    let takes = match role {
        Role::Gateway => Takes::Listeners(Exposure::of(gateway)?),
        Role::Waypoint => {
            let waypoint = admitted.spec.waypoint.as_ref();
            Takes::Hbone(waypoint.map_or(Purpose::Service, |waypoint| waypoint.purpose))
        }
    };
    Ok(Wanted {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        uid: uid.clone().unwrap_or_default(),
        class: class_of(gateway).to_owned(),
        replicas,
        takes,
        labels: texts(infrastructure, "labels"),
        annotations: texts(infrastructure, "annotations"),
    })
}

fn replicas_of(key: &str, text: &str) -> Result<u32, Refused> {
    match text.parse() {
        Ok(replicas @ 1..=1000) => Ok(replicas),
        _ => {
            let at = format!("metadata.annotations[{key}]");
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
            (GATEWAY_CLASS_NAME, &*self.class),
            (MANAGED_BY, MANAGER),
            ("app.kubernetes.io/name", self.takes.role().application()),
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
mod tests;
