//! What the mesh looks at of an object of the API server, and nothing else.
//!
//! Invariants: fields that a later Kubernetes adds to its own kinds are no mistake of anybody's; what only an agent or the
//! controller may say (network namespaces, what is programmed) is never taken from annotations that tenants write.

use serde_json::{Map, Value, json};

use crate::admit::{CA_ENTRY, CAPTURED, SECRET_ENTRIES, SECRET_TYPE, is_ours};
use crate::keys;
use crate::model::Kind;

/// Why a waypoint that was programmed is not now.
const NO_READY_INSTANCE: &str = "NoReadyInstance";
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is left of an object; none when it does not concern the mesh.
pub(super) fn trim(kind: Kind, mut value: Value) -> Option<Value> {
    let mut object = Map::new();
    object.insert("apiVersion".into(), kind.api_versions()[0].into());
    object.insert("kind".into(), kind.as_str().into());
    let mut metadata = metadata(value["metadata"].take());
    match kind {
        Kind::Namespace | Kind::Node | Kind::ServiceAccount | Kind::NetworkPolicy => {}
        Kind::Pod => {
            let (spec, status) = pod(value["spec"].take(), value["status"].take());
            object.insert("spec".into(), spec);
            object.insert("status".into(), status);
        }
        Kind::Service => {
            object.insert("spec".into(), service(value["spec"].take()));
        }
        Kind::EndpointSlice => slice(&mut object, &metadata, value)?,
        Kind::Gateway => {
            let refused = is_refused(&value);
            let (spec, programmed) = gateway(&mut value);
            object.insert("spec".into(), spec);
            for (holds, key) in [(programmed, keys::PROGRAMMED), (refused, keys::REFUSED)] {
                if holds {
                    metadata["annotations"][key] = json!("true");
                }
            }
        }
        Kind::Secret => {
            if value["type"] != SECRET_TYPE {
                return None;
            }
            object.insert("type".into(), SECRET_TYPE.into());
            object.insert("data".into(), pick(value["data"].take(), &SECRET_ENTRIES));
        }
        Kind::Ingress => {
            object.insert("spec".into(), ingress(value["spec"].take()));
        }
        Kind::IngressClass => {
            let spec = pick(value["spec"].take(), &["controller", "parameters"]);
            object.insert("spec".into(), spec);
        }
        Kind::ServiceEntry => {
            object.insert("spec".into(), value["spec"].take());
            object.insert(
                "status".into(),
                pick(value["status"].take(), &["addresses"]),
            );
        }
        Kind::ConfigMap => {
            let data = pick(value["data"].take(), &[CA_ENTRY]);
            data.get(CA_ENTRY)?;
            object.insert("data".into(), data);
            metadata = pick(metadata, &["name", "namespace", "uid"]);
        }
        Kind::BackendTlsPolicy
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::TlsRoute
        | Kind::TcpRoute
        | Kind::ListenerSet
        | Kind::ReferenceGrant
        | Kind::GatewayClass
        | Kind::MeshConfig
        | Kind::PeerAuthentication
        | Kind::AuthorizationPolicy
        | Kind::TrafficPolicy
        | Kind::FaultPolicy
        | Kind::EgressPolicy
        | Kind::XBackendTrafficPolicy => {
            let spec = value["spec"].take();
            object.insert("spec".into(), if spec.is_null() { json!({}) } else { spec });
        }
    }
    object.insert("metadata".into(), metadata);
    Some(Value::Object(object))
}

/// These fields of an object, where it has them.
fn pick(mut value: Value, fields: &[&str]) -> Value {
    let Some(map) = value.as_object_mut() else {
        return json!({});
    };
    map.retain(|key, value| fields.contains(&key.as_str()) && !value.is_null());
    value
}

/// The same of each element of a list.
fn each(value: &mut Value, field: &str, change: impl Fn(Value) -> Value) {
    if let Some(list) = value.get_mut(field).and_then(Value::as_array_mut) {
        for item in list {
            *item = change(item.take());
        }
    }
}

fn metadata(value: Value) -> Value {
    let mut metadata = pick(
        value,
        &[
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "labels",
            "annotations",
            "ownerReferences",
        ],
    );
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        let forged = [keys::NETNS, keys::PROGRAMMED, keys::REFUSED];
        annotations.retain(|key, _| !forged.contains(&key.as_str()));
    }
    if let Some(owners) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    {
        owners.retain(|owner| owner["controller"] == true);
    }
    metadata
}

fn pod(spec: Value, status: Value) -> (Value, Value) {
    let mut spec = pick(
        spec,
        &[
            "nodeName",
            "serviceAccountName",
            "hostNetwork",
            "containers",
        ],
    );
    each(&mut spec, "containers", |container| {
        let mut container = pick(container, &["name", "ports"]);
        each(&mut container, "ports", |port| {
            pick(port, &["name", "containerPort", "protocol"])
        });
        container
    });
    let mut status = pick(status, &["phase", "podIP", "podIPs", "conditions"]);
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|c| c["type"] == "Ready" || c["type"] == CAPTURED);
    }
    each(&mut status, "conditions", |condition| {
        pick(condition, &["type", "status", "reason"])
    });
    (spec, status)
}

fn service(spec: Value) -> Value {
    let mut spec = pick(
        spec,
        &[
            "clusterIP",
            "clusterIPs",
            "ports",
            "selector",
            "type",
            "publishNotReadyAddresses",
            "internalTrafficPolicy",
            "trafficDistribution",
            "ipFamilies",
            "sessionAffinity",
        ],
    );
    if spec["sessionAffinity"] == "None"
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("sessionAffinity");
    }
    each(&mut spec, "ports", |port| {
        pick(
            port,
            &["name", "port", "protocol", "targetPort", "appProtocol"],
        )
    });
    spec
}

fn ingress(spec: Value) -> Value {
    let mut spec = pick(
        spec,
        &["ingressClassName", "defaultBackend", "rules", "tls"],
    );
    if let Some(backend) = spec.get_mut("defaultBackend") {
        *backend = pick(backend.take(), &["service", "resource"]);
    }
    each(&mut spec, "tls", |tls| pick(tls, &["hosts", "secretName"]));
    each(&mut spec, "rules", |rule| {
        let mut rule = pick(rule, &["host", "http"]);
        if let Some(http) = rule.get_mut("http") {
            *http = pick(http.take(), &["paths"]);
            each(http, "paths", |path| {
                let mut path = pick(path, &["path", "pathType", "backend"]);
                if let Some(backend) = path.get_mut("backend") {
                    *backend = pick(backend.take(), &["service", "resource"]);
                }
                path
            });
        }
        rule
    });
    spec
}

/// None of a slice of names, or of no Service.
fn slice(object: &mut Map<String, Value>, metadata: &Value, value: Value) -> Option<()> {
    metadata["labels"].get(SERVICE_NAME)?;
    let mut value = pick(value, &["addressType", "endpoints", "ports"]);
    if value["addressType"] == "FQDN" {
        return None;
    }
    each(&mut value, "ports", |port| {
        pick(port, &["name", "port", "protocol"])
    });
    each(&mut value, "endpoints", |endpoint| {
        let mut endpoint = pick(endpoint, &["addresses", "conditions", "targetRef"]);
        for (field, keep) in [
            ("conditions", ["ready", "serving", "terminating"].as_slice()),
            ("targetRef", &["kind", "name"]),
        ] {
            if let Some(inner) = endpoint.get_mut(field) {
                *inner = pick(inner.take(), keep);
            }
        }
        endpoint
    });
    if value.get("endpoints").is_none() {
        value["endpoints"] = json!([]);
    }
    if let Value::Object(fields) = value {
        object.extend(fields);
    }
    Some(())
}

/// What a Gateway says, and whether its waypoint was ever programmed. Where it runs is in its status, unless the user
/// wrote it. Of other classes only the class counts.
fn gateway(value: &mut Value) -> (Value, bool) {
    let (mut spec, status) = (value["spec"].take(), value["status"].take());
    if !spec["gatewayClassName"].as_str().is_some_and(is_ours) {
        return (pick(spec, &["gatewayClassName"]), false);
    }
    let unset = spec["addresses"].as_array().is_none_or(Vec::is_empty);
    if let (true, Some(addresses)) = (unset, status["addresses"].as_array()) {
        let ips = addresses
            .iter()
            .filter(|a| a["type"].as_str().unwrap_or("IPAddress") == "IPAddress");
        spec["addresses"] = ips.cloned().collect();
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    // Once programmed, a waypoint is mandatory, also while no instance of it is ready.
    let once = spec["gatewayClassName"] == culvert_enrolment::WAYPOINT_CLASS;
    let programmed = |c: &Value| {
        let now = c["status"] == "True";
        c["type"] == "Programmed" && (now || (once && c["reason"] == NO_READY_INSTANCE))
    };
    let programmed = conditions.clone().any(programmed);
    (spec, programmed)
}

/// Whether a Gateway's own status says that it is not accepted as it stands.
fn is_refused(gateway: &Value) -> bool {
    let conditions = gateway["status"]["conditions"].as_array().into_iter();
    let accepted = conditions.flatten().find(|c| c["type"] == "Accepted");
    let generation = &gateway["metadata"]["generation"];
    accepted.is_some_and(|c| c["status"] == "False" && c["observedGeneration"] == *generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::admit;
    use crate::model::Object;

    fn admitted(kind: Kind, value: Value) -> Object {
        admit(&trim(kind, value).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_keeps_what_counts_and_nothing_that_is_forged() {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "d", "uid": "u", "resourceVersion": "7",
                "managedFields": [{"manager": "x"}], "finalizers": ["f"],
                "annotations": {"culvert.dev/netns": "/run/netns/other", "culvert.dev/programmed": "true",
                                "culvert.dev/exclude-inbound-ports": "9090"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "uid": "o", "controller": true}]},
            "spec": {"nodeName": "n1", "volumes": [{"name": "v"}], "fieldOfTomorrow": 1,
                "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80, "hostPort": 1}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": "False", "observedGeneration": 1},
                               {"type": "culvert.dev/Captured", "status": "True"}, {"type": "Other", "status": "True"}]},
        });
        let Object::Pod(pod) = admitted(Kind::Pod, pod) else {
            panic!()
        };
        assert_eq!(pod.spec.netns, "");
        assert!(pod.spec.captured && !pod.spec.ready);
        assert_eq!(pod.spec.addresses.len(), 2);
        assert_eq!(pod.spec.ports["http"], 80);
        assert!(pod.spec.capture.exclude_inbound_ports.contains(&9090));
        assert_eq!(pod.meta.annotations.len(), 1);
        assert_eq!(pod.spec.owner.as_ref().unwrap().name, "a-1");
    }

    #[test]
    fn what_is_not_ours_is_no_mistake() {
        let meta =
            json!({"name": "a", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}});
        let fqdn = json!({"metadata": meta, "addressType": "FQDN", "endpoints": []});
        assert!(trim(Kind::EndpointSlice, fqdn).is_none());
        let orphan = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []});
        assert!(trim(Kind::EndpointSlice, orphan).is_none());
        let empty =
            json!({"metadata": meta, "addressType": "IPv4", "ports": null, "endpoints": null});
        admitted(Kind::EndpointSlice, empty);
        let foreign = json!({"metadata": {"name": "a", "namespace": "d"},
            "spec": {"gatewayClassName": "nginx", "listeners": [{"name": "x", "port": 80, "fieldOfTomorrow": 1}]}});
        admitted(Kind::Gateway, foreign);
        let opaque =
            json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"password": "eA=="}});
        assert!(trim(Kind::Secret, opaque).is_none());
    }

    #[test]
    fn of_a_config_map_nothing_is_left_but_certificates_of_authorities() {
        let of = |data: Value| {
            trim(
                Kind::ConfigMap,
                json!({"metadata": {"name": "a", "namespace": "d", "labels": {"culvert.dev/strange": "x"}}, "data": data}),
            )
        };
        assert!(of(json!({"settings": "x"})).is_none() && of(Value::Null).is_none());
        let left = of(json!({"ca.crt": "x", "settings": "y"})).unwrap();
        assert_eq!(left["data"], json!({"ca.crt": "x"}));
        let Object::ConfigMap(bundle) = admit(&left).unwrap() else {
            panic!()
        };
        assert!(bundle.meta.labels.is_empty() && bundle.spec.certificates.is_err());
    }

    #[test]
    fn of_a_secret_nothing_is_left_but_the_pair() {
        let secret = json!({"metadata": {"name": "a", "namespace": "d", "annotations": {"kubectl.kubernetes.io/x": "eA=="}},
            "type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eQ==", "password": "eg=="}});
        let left = trim(Kind::Secret, secret.clone()).unwrap();
        assert_eq!(left["data"], json!({"tls.crt": "eA==", "tls.key": "eQ=="}));
        let Object::Secret(admitted) = admitted(Kind::Secret, secret) else {
            panic!()
        };
        assert!(admitted.meta.annotations.is_empty());
        assert_eq!(
            admitted.spec.problem.as_deref(),
            Some("tls.crt holds no certificate in PEM")
        );
    }

    #[test]
    fn a_waypoint_is_where_its_status_says() {
        let gateway = |status: Value| {
            json!({"metadata": {"name": "g", "namespace": "d", "annotations": {"culvert.dev/programmed": "true"}},
                "spec": {"gatewayClassName": "culvert-waypoint",
                         "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]},
                "status": status})
        };
        let Object::Gateway(none) = admitted(Kind::Gateway, gateway(json!({}))) else {
            panic!()
        };
        assert!(none.spec.waypoint.as_ref().unwrap().addresses.is_empty());
        assert!(none.meta.annotations.is_empty());
        let status = json!({"addresses": [{"type": "IPAddress", "value": "10.96.0.9"}, {"type": "Hostname", "value": "x"}],
            "conditions": [{"type": "Programmed", "status": "True"}]});
        let Object::Gateway(some) = admitted(Kind::Gateway, gateway(status)) else {
            panic!()
        };
        let addresses = &some.spec.waypoint.as_ref().unwrap().addresses;
        assert_eq!(
            addresses,
            &["10.96.0.9".parse::<std::net::IpAddr>().unwrap()]
        );
        assert_eq!(some.meta.annotations[keys::PROGRAMMED], "true");
    }
}
