//! What of an Ingress is refused at once, and what is left to whoever knows whose it is.

use serde_json::{Value, json};

use crate::admit::{Refusal, admit};
use crate::model::{BackendPort, Ingress, IngressBackend, IngressClass, Object, PathType};

fn ingress(spec: &Value, annotations: &Value) -> Result<Ingress, Refusal> {
    let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "demo", "annotations": annotations}, "spec": spec});
    match admit(&value)? {
        Object::Ingress(object) => Ok(object.spec.clone()),
        other => panic!("{other:?}"),
    }
}

fn class(annotations: &Value, spec: &Value) -> IngressClass {
    let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "c", "annotations": annotations}, "spec": spec});
    match admit(&value).unwrap() {
        Object::IngressClass(object) => object.spec.clone(),
        other => panic!("{other:?}"),
    }
}

/// The fields that are at fault.
fn at_fault(spec: &Value) -> Vec<String> {
    let refusal = ingress(spec, &json!({})).unwrap_err();
    let issues = refusal.issues.iter();
    issues.map(|issue| issue.field.to_string()).collect()
}

fn path(kind: &str, path: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": "web", "port": {"number": 80}}}})
}

fn rules(paths: &[Value]) -> Value {
    json!({"rules": [{"host": "x.org", "http": {"paths": paths}}]})
}

#[test]
fn what_an_ingress_says() {
    let spec = json!({
        "ingressClassName": "culvert",
        "defaultBackend": {"service": {"name": "rest", "port": {"name": "http"}}},
        "rules": [
            {"host": "*.x.org", "http": {"paths": [path("Exact", "/a"), path("Prefix", "/b/"),
                                                   path("ImplementationSpecific", "/c(.*)")]}},
            {"http": {"paths": [{"pathType": "ImplementationSpecific",
                                 "backend": {"resource": {"kind": "Bucket", "name": "b"}}}]}},
            {"host": "y.org"}],
        "tls": [{"hosts": ["z.org"], "secretName": "cert"}, {}],
    });
    let admitted = ingress(&spec, &json!({"culvert.dev/ssl-redirect": "true"})).unwrap();
    assert_eq!(admitted.class.as_deref(), Some("culvert"));
    assert!(admitted.redirect);
    let rest = IngressBackend::Service("rest".into(), BackendPort::Name("http".into()));
    assert_eq!(admitted.default_backend, Some(rest));
    let kinds = |i: usize| -> Vec<_> {
        let paths = admitted.rules[i].paths.iter();
        paths.map(|p| (p.kind, p.path.as_str())).collect()
    };
    let own = PathType::ImplementationSpecific;
    assert_eq!(
        kinds(0),
        [
            (PathType::Exact, "/a"),
            (PathType::Prefix, "/b/"),
            (own, "/c(.*)")
        ]
    );
    assert_eq!(kinds(1), [(own, "/")]);
    assert_eq!(admitted.rules[2].paths, []);
    let hosts: Vec<_> = admitted.hosts().into_iter().collect();
    assert_eq!(hosts, ["", "*.x.org", "y.org", "z.org"]);
    let without = Ingress {
        default_backend: None,
        ..admitted
    };
    let hosts: Vec<_> = without.hosts().into_iter().collect();
    assert_eq!(
        hosts,
        ["", "*.x.org", "y.org"],
        "a certificate alone asks for nothing"
    );
}

#[test]
fn the_old_annotation_goes_first() {
    let of = |annotation: &str, spec: &Value| {
        ingress(spec, &json!({"kubernetes.io/ingress.class": annotation}))
            .unwrap()
            .class
    };
    let named = json!({"ingressClassName": "culvert"});
    assert_eq!(of("nginx", &named).as_deref(), Some("nginx"));
    assert_eq!(of("", &named).as_deref(), Some("culvert"));
    assert_eq!(of("culvert", &json!({})).as_deref(), Some("culvert"));
}

#[test]
fn each_mistake_has_its_field() {
    let at = |i: usize, rest: &str| format!("spec.rules[0].http.paths[{i}].{rest}");
    for (bad, field) in [
        (path("Exact", "a"), "path"),
        (path("Prefix", ""), "path"),
        (path("Prefix", "/a//b"), "path"),
        (path("Exact", "/a/../b"), "path"),
        (path("Prefix", "/a%2Fb"), "path"),
        (path("ImplementationSpecific", "a"), "path"),
        (path("Regex", "/a"), "pathType"),
        (
            json!({"path": "/", "pathType": "Prefix", "backend": {}}),
            "backend",
        ),
        (
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web"}}}),
            "backend.service.port",
        ),
        (
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web",
                "port": {"name": "http", "number": 80}}}}),
            "backend.service.port",
        ),
        (
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web",
                "port": {"number": 70000}}}}),
            "backend.service.port.number",
        ),
        (
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "W",
                "port": {"number": 80}}}}),
            "backend.service.name",
        ),
    ] {
        let spec = rules(&[path("Prefix", "/ok"), bad.clone()]);
        assert_eq!(at_fault(&spec), [at(1, field)], "{bad}");
    }
    for (spec, field) in [
        (json!({"rules": [{"host": "X.org"}]}), "spec.rules[0].host"),
        (json!({"rules": [{"host": "*"}]}), "spec.rules[0].host"),
        (
            json!({"rules": [{"host": "a.*.org"}]}),
            "spec.rules[0].host",
        ),
        (json!({"tls": [{"hosts": ["a b"]}]}), "spec.tls[0].hosts[0]"),
        (
            json!({"tls": [{"secretName": "a/b"}]}),
            "spec.tls[0].secretName",
        ),
        (json!({"rules": [{"hots": "x.org"}]}), "spec.rules[0].hots"),
    ] {
        assert_eq!(at_fault(&spec), [field], "{spec}");
    }
    let refusal = ingress(&json!({}), &json!({"culvert.dev/ssl-redirect": "yes"})).unwrap_err();
    let [issue] = refusal.issues.as_slice() else {
        panic!("{refusal:?}")
    };
    assert_eq!(
        (issue.field.to_string().as_str(), issue.message.as_str()),
        (
            "metadata.annotations[culvert.dev/ssl-redirect]",
            "\"yes\" is neither true nor false"
        )
    );
}

#[test]
fn what_a_class_says() {
    let default = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    let spec = json!({"controller": "culvert.dev/ingress"});
    let plain = class(&json!({}), &spec);
    assert_eq!(plain.controller, "culvert.dev/ingress");
    assert!(!plain.is_default && !plain.has_parameters);
    assert!(class(&default, &spec).is_default);
    let parameters = json!({"controller": "x", "parameters": {"kind": "ConfigMap", "name": "p"}});
    assert!(class(&json!({}), &parameters).has_parameters);
}
