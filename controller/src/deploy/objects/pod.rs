//! The pod of one instance: any user but root, no capability, nothing to write to, and no right to the API.

use serde_json::{Value, json};

use super::super::gateway::{Takes, Wanted};
use super::super::{Common, ROOT};
use super::{HBONE, selector};

const STATS: u16 = 15020;
const READY: u16 = 15021;
const TOKEN_DIR: &str = "/var/run/secrets/culvert/token";
const ROOT_DIR: &str = "/var/run/secrets/culvert/root";

pub(super) fn spec(wanted: &Wanted, common: &Common) -> Value {
    let spread = |key: &str| {
        json!({
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(wanted)},
        })
    };
    let mut security = json!({"fsGroup": 65532});
    if let Takes::Listeners(_) = wanted.takes {
        // Listeners are at the ports that clients see, 80 too. In the pod's own network that needs no capability.
        security["sysctls"] =
            json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
    }
    json!({
        "serviceAccountName": wanted.name,
        "automountServiceAccountToken": false,
        // More than the 25 s that requests in flight get.
        "terminationGracePeriodSeconds": 35,
        "securityContext": security,
        "topologySpreadConstraints": [
            spread("kubernetes.io/hostname"),
            spread("topology.kubernetes.io/zone"),
        ],
        "containers": [container(wanted, common)],
        "volumes": [
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": "culvert-ca", "expirationSeconds": 3600, "path": "token"}}]}},
            // May come after the pod: the instance waits for it.
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
    .chain([json!({"name": "CULVERT_POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})])
    .collect();
    json!({
        "name": wanted.takes.role().as_str(),
        "image": common.image,
        "imagePullPolicy": common.pull_policy,
        "env": env,
        "ports": ports(&wanted.takes),
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

/// Listeners are not here: they come and go while instances run, and a change of this list would start all of them anew.
fn ports(takes: &Takes) -> Vec<Value> {
    let port =
        |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    let hbone = matches!(takes, Takes::Hbone(_)).then(|| port("hbone", HBONE));
    let own = [port("http-stats", STATS), port("http-ready", READY)];
    hbone.into_iter().chain(own).collect()
}
