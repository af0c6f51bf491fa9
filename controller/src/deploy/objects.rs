//! The objects of one waypoint, as they are applied. Pure: what they are depends on nothing but what is given.

use serde_json::{Map, Value, json};

use super::gateway::Wanted;
use super::{Common, GATEWAY_NAME, MANAGED_BY, MANAGER, ROOT};

/// Where HBONE is taken.
const HBONE: u16 = 15008;
const STATS: u16 = 15020;
const READY: u16 = 15021;
const TOKEN_DIR: &str = "/var/run/secrets/culvert/token";
const ROOT_DIR: &str = "/var/run/secrets/culvert/root";

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

fn service(wanted: &Wanted) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(wanted),
        "spec": {
            "type": "ClusterIP",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": selector(wanted),
            "ports": [{"name": "hbone", "protocol": "TCP", "port": HBONE, "targetPort": HBONE}],
        },
    })
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
            "spec": pod(wanted, common),
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

fn pod(wanted: &Wanted, common: &Common) -> Value {
    let spread = |key: &str| {
        json!({
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(wanted)},
        })
    };
    json!({
        "serviceAccountName": wanted.name,
        "automountServiceAccountToken": false,
        // More than the 25 s that requests in flight get.
        "terminationGracePeriodSeconds": 35,
        "securityContext": {"fsGroup": 65532},
        "topologySpreadConstraints": [
            spread("kubernetes.io/hostname"),
            spread("topology.kubernetes.io/zone"),
        ],
        "containers": [container(wanted, common)],
        "volumes": [
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": "culvert-ca", "expirationSeconds": 3600, "path": "token"}}]}},
            // May come after the pod: the waypoint waits for it.
            {"name": "root", "configMap": {"name": ROOT, "optional": true}},
        ],
    })
}

fn container(wanted: &Wanted, common: &Common) -> Value {
    let env: Vec<_> = [
        (
            "CULVERT_WAYPOINT",
            format!("{}/{}", wanted.namespace, wanted.name),
        ),
        ("CULVERT_CONTROLLER", common.controller.to_string()),
        ("CULVERT_TOKEN_FILE", format!("{TOKEN_DIR}/token")),
        ("CULVERT_ROOT_FILE", format!("{ROOT_DIR}/root.crt")),
    ]
    .into_iter()
    .map(|(name, value)| json!({"name": name, "value": value}))
    .collect();
    json!({
        "name": "waypoint",
        "image": common.image,
        "imagePullPolicy": common.pull_policy,
        "env": env,
        "ports": [
            {"name": "hbone", "containerPort": HBONE, "protocol": "TCP"},
            {"name": "http-stats", "containerPort": STATS, "protocol": "TCP"},
            {"name": "http-ready", "containerPort": READY, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": READY},
            "periodSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {"tcpSocket": {"port": READY}, "periodSeconds": 10, "initialDelaySeconds": 10},
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_DIR, "readOnly": true},
            {"name": "root", "mountPath": ROOT_DIR, "readOnly": true},
        ],
    })
}

/// The mesh's root in a namespace. It goes with the last of the waypoints there.
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            namespace: "demo".into(),
            name: "waypoint".into(),
            uid: "11111111-2222-3333-4444-555555555555".into(),
            replicas: Some(2),
            purpose: crate::model::Purpose::Service,
            labels: BTreeMap::from([("team".into(), "web".into())]),
            annotations: BTreeMap::from([("example.com/note".into(), "x".into())]),
        }
    }

    fn common() -> Common {
        Common {
            image: "localhost/culvert/culvert-waypoint:0.1.0".into(),
            pull_policy: "IfNotPresent".into(),
            controller: "10.96.0.20:15012".parse().unwrap(),
        }
    }

    #[test]
    fn the_objects_are_those_of_the_golden_file() {
        let mut objects = of(&wanted(), &common());
        let data = json!({"root.crt": "PEM"});
        let owners = [("waypoint".to_owned(), wanted().uid)];
        objects.push(root("demo", &owners, data.as_object().unwrap()));
        let made: Vec<_> = objects.iter().map(culvert_runtime::yaml::of).collect();
        let made = made.join("---\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/golden.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), made);
    }

    #[test]
    fn they_are_what_kubernetes_knows() {
        fn known<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) {
            let typed: T = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(typed).unwrap(), *value);
        }
        let objects = of(&wanted(), &common());
        known::<k8s_openapi::api::core::v1::ServiceAccount>(&objects[0]);
        known::<k8s_openapi::api::core::v1::Service>(&objects[1]);
        known::<k8s_openapi::api::policy::v1::PodDisruptionBudget>(&objects[2]);
        known::<k8s_openapi::api::apps::v1::Deployment>(&objects[3]);
    }

    #[test]
    fn who_scales_it_is_left_alone() {
        let wanted = Wanted {
            replicas: None,
            ..wanted()
        };
        assert!(of(&wanted, &common())[3]["spec"].get("replicas").is_none());
    }
}
