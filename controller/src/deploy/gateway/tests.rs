//! What a person wants, read from a Gateway, and what is refused.

use serde_json::json;

use super::super::exposure::ServiceType;
use super::*;

fn object(mut value: Value, change: impl Fn(&mut Value)) -> DynamicObject {
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn waypoint(change: impl Fn(&mut Value)) -> DynamicObject {
    let value = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "demo", "uid": "u1"},
        "spec": {"gatewayClassName": "culvert-waypoint",
                 "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]},
    });
    object(value, change)
}

fn gateway(change: impl Fn(&mut Value)) -> DynamicObject {
    let value = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "demo", "uid": "u1"},
        "spec": {"gatewayClassName": "culvert", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    object(value, change)
}

#[test]
fn what_a_person_wants() {
    let wanted = waypoint(|g| {
        g["metadata"]["annotations"] = json!({"culvert.dev/waypoint-replicas": "2"});
        g["spec"]["infrastructure"] = json!({
            "labels": {"team": "web", "gateway.networking.k8s.io/gateway-name": "other"},
            "annotations": {"note": "x"}});
    });
    let wanted = read(&wanted, Role::Waypoint).unwrap();
    assert_eq!(wanted.replicas, Some(2));
    assert_eq!(wanted.takes, Takes::Hbone(Purpose::Service));
    assert_eq!(wanted.all_labels()["team"], "web");
    // Ours are not to be changed.
    assert_eq!(wanted.all_labels()[GATEWAY_NAME], "waypoint");
    assert_eq!(wanted.annotations["note"], "x");
}

#[test]
fn a_gateway_is_asked_for_in_its_own_words() {
    let wanted = gateway(|g| {
        g["spec"]["gatewayClassName"] = json!("edge");
        g["metadata"]["annotations"] = json!({
            "culvert.dev/gateway-replicas": "3", "culvert.dev/waypoint-replicas": "many",
            "culvert.dev/service-type": "ClusterIP"});
    });
    let wanted = read(&wanted, Role::Gateway).unwrap();
    assert_eq!(wanted.replicas, Some(3));
    let labels = wanted.all_labels();
    assert_eq!(labels[GATEWAY_CLASS_NAME], "edge");
    assert_eq!(labels["app.kubernetes.io/name"], "culvert-gateway");
    assert_eq!(labels[keys::DATAPLANE_MODE], "none");
    let Takes::Listeners(exposure) = wanted.takes else {
        panic!("{:?}", wanted.takes)
    };
    assert_eq!(exposure.service, ServiceType::ClusterIp);
    assert!(exposure.ports.contains(&80));
}

type Case = (fn(&mut Value), &'static str, &'static str);

#[test]
fn what_is_not_accepted_says_why() {
    let cases: [Case; 5] = [
        (
            |g| g["spec"]["listeners"][0]["protocol"] = json!("HTTP"),
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
    ];
    for (change, reason, says) in cases {
        let Refused(word, sentence) = read(&waypoint(change), Role::Waypoint).unwrap_err();
        assert_eq!(word, reason, "{sentence}");
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[test]
fn what_is_not_accepted_of_a_gateway() {
    let cases: [Case; 4] = [
        (
            |g| g["metadata"]["annotations"] = json!({"culvert.dev/service-type": "none"}),
            "Invalid",
            "metadata.annotations[culvert.dev/service-type]: \"none\"",
        ),
        (
            |g| g["spec"]["listeners"][0]["protocol"] = json!("example.com/other"),
            "ListenersNotValid",
            "spec.listeners",
        ),
        (
            |g| g["spec"]["addresses"] = json!([{"type": "NamedAddress", "value": "x"}]),
            "UnsupportedAddress",
            "spec.addresses[0].type",
        ),
        (
            |g| {
                g["spec"]["infrastructure"] =
                    json!({"parametersRef": {"group": "invalid.io", "kind": "X", "name": "x"}});
            },
            "InvalidParameters",
            "culvert.dev/gateway-replicas",
        ),
    ];
    for (change, reason, says) in cases {
        let Refused(word, sentence) = read(&gateway(change), Role::Gateway).unwrap_err();
        assert_eq!(word, reason, "{sentence}");
        assert!(sentence.contains(says), "{sentence}");
    }
}
