//! The objects of one Gateway, as they are applied. Pure: what they are depends on nothing but what is given.

mod pod;

use serde_json::{Map, Value, json};

use super::exposure::ServiceType;
use super::gateway::{Takes, Wanted};
use super::requested;
use super::{Common, GATEWAY_NAME, MANAGED_BY, MANAGER, ROOT};

/// Where HBONE is taken.
const HBONE: u16 = 15008;

/// All of them, in the order of applying.
pub(super) fn of(wanted: &Wanted, common: &Common) -> Vec<Value> {
    vec![
        service_account(wanted),
        service(wanted),
        disruption_budget(wanted),
        deployment(wanted, common),
    ]
}

fn metadata(wanted: &Wanted) -> Value {
    let mut metadata = json!({
        "name": wanted.name,
        "namespace": wanted.namespace,
        "labels": wanted.all_labels(),
        "ownerReferences": [owner(&wanted.name, &wanted.uid, true)],
    });
    if !wanted.annotations.is_empty() {
        metadata["annotations"] = json!(wanted.annotations);
    }
    metadata
}

fn owner(name: &str, uid: &str, controller: bool) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": name,
        "uid": uid,
        "controller": controller,
    })
}

fn service_account(wanted: &Wanted) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(wanted),
        "automountServiceAccountToken": false,
    })
}

/// What is not set here is left to whoever sets it: `externalTrafficPolicy`, `loadBalancerClass`, node ports.
fn service(wanted: &Wanted) -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "protocol": "TCP", "port": port, "targetPort": port});
    let (kind, ports) = match &wanted.takes {
        Takes::Hbone(_) => ("ClusterIP", vec![port("hbone", HBONE)]),
        Takes::Listeners(exposure) => {
            let ports = exposure.ports.iter();
            let ports = ports.map(|number| port(&format!("port-{number}"), *number));
            (exposure.service.as_str(), ports.collect())
        }
    };
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(wanted),
        "spec": {
            "type": kind,
            "ipFamilyPolicy": "PreferDualStack",
            "selector": selector(wanted),
            "ports": ports,
        },
    });
    if let Takes::Listeners(exposure) = &wanted.takes
        && exposure.service == ServiceType::LoadBalancer
        && let Some(ip) = requested::of_balancer(&exposure.requested)
    {
        service["spec"]["loadBalancerIP"] = ip.to_string().into();
    }
    service
}

/// Of two or more instances a drain of nodes takes one at a time; a single one does not hold it up.
fn disruption_budget(wanted: &Wanted) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(wanted),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(wanted)}},
    })
}

fn selector(wanted: &Wanted) -> Value {
    json!({GATEWAY_NAME: wanted.name})
}

fn deployment(wanted: &Wanted, common: &Common) -> Value {
    let mut annotations = wanted.annotations.clone();
    for (key, value) in [("scrape", "true"), ("port", "15020"), ("path", "/metrics")] {
        annotations.insert(format!("prometheus.io/{key}"), value.into());
    }
    let mut spec = json!({
        "selector": {"matchLabels": selector(wanted)},
        // The next instance is ready before the last one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": wanted.all_labels(), "annotations": annotations},
            "spec": pod::spec(wanted, common),
        },
    });
    if let Some(replicas) = wanted.replicas {
        spec["replicas"] = replicas.into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(wanted),
        "spec": spec,
    })
}

/// The mesh's root in a namespace. It goes with the last of our Gateways there.
pub(super) fn root(
    namespace: &str,
    owners: &[(String, String)],
    data: &Map<String, Value>,
) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|(name, uid)| {
            let mut owner = owner(name, uid, false);
            if let Some(owner) = owner.as_object_mut() {
                owner.remove("controller");
            }
            owner
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOT,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "culvert"},
            "ownerReferences": owners,
        },
        "data": data,
    })
}

#[cfg(test)]
mod tests;
