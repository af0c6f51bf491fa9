//! Objects for tests, written as a user would.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use culvert_identity::TrustDomain;
use culvert_identity::ca::Root;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use crate::admit::admit;
use crate::model::{Obj, Object, Pod};
use crate::world::World;

/// The object of this JSON, which must be good.
pub(crate) fn object(value: &Value) -> Object {
    admit(value).unwrap_or_else(|refusal| panic!("{value}: {refusal:?}"))
}

/// A pod on node n1, labelled `app: NAME`, in this network namespace.
pub(crate) fn pod(namespace: &str, name: &str, netns: &str) -> Arc<Obj<Pod>> {
    let mut value = pod_value(namespace, name, "10.0.0.1");
    value["metadata"]["annotations"] = json!({ crate::keys::NETNS: netns });
    match object(&value) {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn pod_value(namespace: &str, name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
           "spec": {"nodeName": "n1", "serviceAccountName": name},
           "status": {"podIP": address}})
}

pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A service that selects `app: APP`, port 80 to 8080.
pub(crate) fn service(namespace: &str, name: &str, app: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace, "labels": {}},
           "spec": {"clusterIP": address, "selector": {"app": app},
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

pub(crate) fn waypoint(namespace: &str, name: &str, address: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
           "metadata": {"name": name, "namespace": namespace, "labels": {}},
           "spec": {"gatewayClassName": "culvert-waypoint", "addresses": [{"value": address}],
                    "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]}})
}

/// A gateway to the outside with these listeners.
pub(crate) fn gateway(namespace: &str, name: &str, listeners: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
           "metadata": {"name": name, "namespace": namespace, "labels": {}},
           "spec": {"gatewayClassName": "culvert", "listeners": listeners}})
}

/// A ListenerSet of a Gateway.
pub(crate) fn listener_set(
    namespace: &str,
    name: &str,
    (of, gateway): (&str, &str),
    listeners: Value,
) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet",
           "metadata": {"name": name, "namespace": namespace},
           "spec": {"parentRef": {"name": gateway, "namespace": of}, "listeners": listeners}})
}

/// A Secret of this certificate and key.
pub(crate) fn secret(namespace: &str, name: &str, pair: (&str, &str)) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
           "metadata": {"name": name, "namespace": namespace},
           "stringData": {"tls.crt": pair.0, "tls.key": pair.1}})
}

/// A ConfigMap with these certificates of authorities.
pub(crate) fn config_map(namespace: &str, name: &str, certificates: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
           "data": {"ca.crt": certificates}})
}

/// A BackendTLSPolicy for a Service, or for one of its ports.
pub(crate) fn backend_tls(
    namespace: &str,
    name: &str,
    (service, section): (&str, Option<&str>),
    validation: Value,
) -> Value {
    let target = json!({"group": "", "kind": "Service", "name": service, "sectionName": section});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
           "metadata": {"name": name, "namespace": namespace},
           "spec": {"targetRefs": [target], "validation": validation}})
}

/// Two certificates with their keys.
pub(crate) fn pairs() -> &'static [(String, String); 2] {
    static PAIRS: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
        let domain = TrustDomain::new("test").unwrap();
        [(); 2].map(|()| {
            let made = Root::generate(&domain).unwrap();
            (made.chain, made.key)
        })
    });
    &PAIRS
}

/// Objects of `kind` in one namespace may refer to those of another kind in this one.
pub(crate) fn grant(namespace: &str, (kind, from): (&str, &str), to: &str) -> Value {
    let from = json!([{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": from}]);
    json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
           "metadata": {"name": "grant", "namespace": namespace},
           "spec": {"from": from, "to": [{"group": "", "kind": to}]}})
}

/// A route of this kind.
pub(crate) fn of_kind(kind: &str, mut route: Value) -> Value {
    route["kind"] = kind.into();
    route
}

pub(crate) fn culvert(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "culvert.dev/v1alpha1", "kind": kind, "spec": spec,
           "metadata": {"name": name, "namespace": namespace}})
}

pub(crate) fn route(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": spec,
           "metadata": {"name": name, "namespace": namespace}})
}

/// The MeshConfig.
pub(crate) fn mesh_config(spec: Value) -> Value {
    json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig",
           "metadata": {"name": "default"}, "spec": spec})
}

/// An Ingress of class `culvert` that was made in this second of a minute.
pub(crate) fn ingress(namespace: &str, name: &str, second: u32, spec: Value) -> Value {
    let mut ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec,
        "metadata": {"name": name, "namespace": namespace,
                     "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")}});
    ingress["spec"]["ingressClassName"] = "culvert".into();
    ingress
}

/// A path of an Ingress, to port 80 of a service.
pub(crate) fn ingress_path(kind: &str, path: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind,
           "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

/// A world of these objects.
pub(crate) fn world(objects: &[Value]) -> World {
    let mut world = World::default();
    for value in objects {
        world.put(&object(value));
    }
    world
}

/// A client of an API server that answers like this: a status and JSON.
pub(crate) fn api_server<A>(
    answer: impl Fn(Parts, Vec<u8>) -> A + Clone + Send + 'static,
) -> kube::Client
where
    A: Future<Output = (u16, Value)> + Send,
{
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (code, answer) = answer(head, body.into()).await;
            let body = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    kube::Client::new(service, "default")
}
