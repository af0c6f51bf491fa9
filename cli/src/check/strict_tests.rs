//! Who is cut off by STRICT, and who is not.

use serde_json::{Value, json};

use super::check;
use crate::check::facts::Facts;
use crate::check::testing::{facts, found, object, pod};

const NONE: [String; 0] = [];

fn mesh(mode: &str) -> Facts {
    let mut facts = facts();
    facts.pods = vec![pod("meshed", "web", &[("app", "web")])];
    let policy =
        json!({"metadata": {"namespace": "meshed", "name": "p"}, "spec": {"mtls": {"mode": mode}}});
    facts.others.insert("PeerAuthentication", vec![policy]);
    facts
}

fn service(kind: &str) -> Value {
    json!({"metadata": {"namespace": "meshed", "name": "web"}, "spec": {
        "type": kind, "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}})
}

#[test]
fn a_prometheus_outside_is_refused_by_pods_that_ask_to_be_scraped() {
    let annotate = |facts: &mut Facts| {
        let scrape = [("prometheus.io/scrape".to_owned(), "true".to_owned())];
        facts.pods[0].metadata.annotations = Some(scrape.into());
    };
    let prometheus = |namespace: &str| {
        pod(
            namespace,
            "prometheus-0",
            &[("app.kubernetes.io/name", "prometheus")],
        )
    };
    assert_eq!(found(&mesh("STRICT"), None, check), NONE);
    let mut facts = mesh("STRICT");
    annotate(&mut facts);
    assert_eq!(
        found(&facts, None, check),
        ["warning strict-scrape Pod meshed/web"]
    );
    assert_eq!(found(&facts, Some("plain"), check), NONE);
    facts.pods.push(prometheus("plain"));
    assert_eq!(
        found(&facts, None, check),
        ["error strict-scrape Pod meshed/web"]
    );
    facts.pods[1] = prometheus("meshed");
    assert_eq!(found(&facts, None, check), NONE);
    let mut facts = mesh("PERMISSIVE");
    annotate(&mut facts);
    facts.pods.push(prometheus("plain"));
    assert_eq!(found(&facts, None, check), NONE);
}

#[test]
fn a_service_may_ask_to_be_scraped_for_its_pods() {
    let mut facts = mesh("STRICT");
    let mut asking = service("ClusterIP");
    asking["metadata"]["annotations"] =
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "9100"});
    facts.services = vec![object(asking)];
    assert_eq!(
        found(&facts, None, check),
        ["warning strict-scrape Pod meshed/web"]
    );
}

#[test]
fn an_ingress_controller_outside_is_refused() {
    let with = |mode: &str, port: &Value| {
        let mut facts = mesh(mode);
        facts.services = vec![object(service("ClusterIP"))];
        let backend = json!({"service": {"name": "web", "port": port}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        facts.ingresses = vec![object(
            json!({"metadata": {"namespace": "meshed", "name": "i"},
            "spec": {"rules": [{"http": {"paths": paths}}]}}),
        )];
        facts
    };
    let number = json!({"number": 80});
    assert_eq!(found(&with("PERMISSIVE", &number), None, check), NONE);
    assert_eq!(
        found(&with("STRICT", &json!({"number": 81})), None, check),
        NONE
    );
    let mut facts = with("STRICT", &number);
    assert_eq!(
        found(&facts, None, check),
        ["warning strict-ingress Ingress meshed/i"]
    );
    let controller = |namespace: &str| {
        pod(
            namespace,
            "c",
            &[("app.kubernetes.io/name", "ingress-nginx")],
        )
    };
    facts.pods.push(controller("plain"));
    assert_eq!(
        found(&facts, None, check),
        ["error strict-ingress Ingress meshed/i"]
    );
    facts.pods[1] = controller("meshed");
    assert_eq!(found(&facts, None, check), NONE);
}

#[test]
fn so_is_a_gateway_but_none_of_ours() {
    let route = json!({"metadata": {"namespace": "meshed", "name": "r"}, "spec": {
        "parentRefs": [{"name": "g", "namespace": "plain"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    let gateway = |class: &str| json!({"metadata": {"namespace": "plain", "name": "g"}, "spec": {"gatewayClassName": class}});
    let mut facts = mesh("STRICT");
    facts.services = vec![object(service("ClusterIP"))];
    facts.others.insert("HTTPRoute", vec![route]);
    assert_eq!(found(&facts, None, check), NONE, "no such gateway");
    for ours in ["culvert-waypoint", "culvert"] {
        facts.others.insert("Gateway", vec![gateway(ours)]);
        assert_eq!(found(&facts, None, check), NONE);
    }
    facts.others.insert("Gateway", vec![gateway("eg")]);
    assert_eq!(
        found(&facts, None, check),
        ["warning strict-ingress HTTPRoute meshed/r"]
    );
    facts.pods.push(pod(
        "plain",
        "g-x",
        &[("gateway.networking.k8s.io/gateway-name", "g")],
    ));
    assert_eq!(
        found(&facts, None, check),
        ["error strict-ingress HTTPRoute meshed/r"]
    );
}

#[test]
fn clients_outside_the_cluster_are_refused() {
    for (mode, kind, expected) in [
        (
            "STRICT",
            "NodePort",
            Some("warning strict-outside Service meshed/web"),
        ),
        (
            "STRICT",
            "LoadBalancer",
            Some("warning strict-outside Service meshed/web"),
        ),
        ("STRICT", "ClusterIP", None),
        ("PERMISSIVE", "NodePort", None),
    ] {
        let mut facts = mesh(mode);
        facts.services = vec![object(service(kind))];
        assert_eq!(
            found(&facts, None, check),
            expected.as_slice(),
            "{mode} {kind}"
        );
    }
}
