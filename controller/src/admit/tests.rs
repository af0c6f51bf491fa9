//! What is refused, and that the refusal names the field.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

mod locality;

use serde_json::{Value, json};

use super::*;

/// `field: message` of all that is wrong.
fn issues(value: &Value) -> Vec<String> {
    match admit(value) {
        Ok(object) => panic!("{} was admitted", object.key()),
        Err(refusal) => {
            let text = |issue: &Issue| format!("{}: {}", issue.field, issue.message);
            refusal.issues.iter().map(text).collect()
        }
    }
}

fn culvert(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "culvert.dev/v1alpha1", "kind": kind, "spec": spec,
           "metadata": {"name": "x", "namespace": "demo"}})
}

fn route(rule: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
           "metadata": {"name": "x", "namespace": "demo"},
           "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": [rule]}})
}

#[test]
fn what_cannot_be_told_has_no_key() {
    for (value, field) in [
        (json!(null), "kind"),
        (
            json!({"kind": "Deployment", "apiVersion": "apps/v1"}),
            "kind",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v2", "metadata": {"name": "a"}}),
            "apiVersion",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}}),
            "metadata.name",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "A!"}}),
            "metadata.name",
        ),
    ] {
        let refusal = admit(&value).unwrap_err();
        assert_eq!(
            (refusal.key, refusal.issues[0].field.to_string().as_str()),
            (None, field)
        );
    }
}

#[test]
fn all_unknown_fields_are_found_in_kubernetes_kinds_too() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "lables": {}},
                     "spec": {"containers": [{"name": "c", "ports": [{"containerport": 80, "containerPort": 80}]}]}});
    assert_eq!(
        issues(&pod),
        [
            "metadata.lables: unknown field",
            "spec.containers[0].ports[0].containerport: unknown field"
        ]
    );
}

#[test]
fn bad_values_carry_their_path() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"hostNetwork": "yes"}});
    assert_eq!(issues(&pod).len(), 1);
    assert!(issues(&pod)[0].starts_with("spec.hostNetwork: invalid type: string \"yes\""));

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"serviceAccountName": "A"},
        "metadata": {"name": "a", "labels": {"culvert.dev/dataplane-mode": "on", "culvert.dev/typo": "x"},
                     "annotations": {"culvert.dev/exclude-inbound-ports": "80,x", "culvert.dev/netns": "ns"}},
        "status": {"podIP": "10.0.0.300", "phase": "Walking"}});
    let found = issues(&pod).join("\n");
    for field in [
        "metadata.labels[culvert.dev/dataplane-mode]: \"on\" is none of ambient, none",
        "metadata.labels[culvert.dev/typo]: unknown label",
        "metadata.annotations[culvert.dev/exclude-inbound-ports]: \"x\" is no port",
        "metadata.annotations[culvert.dev/netns]: \"ns\" is no absolute path",
        "spec.serviceAccountName: \"A\" is no DNS name",
        "status.podIP: \"10.0.0.300\" is no IP address",
        "status.phase: \"Walking\" is no phase",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
}

#[test]
fn a_pod_of_the_laboratory_is_admitted() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "annotations": {"culvert.dev/netns": "/run/netns/a", "other": "gone"}},
        "spec": {"nodeName": "n1"}, "status": {"podIP": "10.0.0.3", "podIPs": [{"ip": "10.0.0.3"}, {"ip": "fd00::3"}]}});
    let Ok(Object::Pod(pod)) = admit(&pod) else {
        panic!()
    };
    assert_eq!(pod.meta.name, NsName::new("default", "a"));
    assert_eq!(pod.spec.addresses.len(), 2);
    assert_eq!(pod.spec.netns, "/run/netns/a");
    assert_eq!(pod.meta.annotations.len(), 1);
    assert!(pod.spec.ready && !pod.spec.ended);
}

#[test]
fn authorization_policies() {
    let policy = culvert(
        "AuthorizationPolicy",
        json!({
        "selector": {"matchLabels": {"app": "web"}},
        "targetRefs": [{"kind": "Pod", "name": "web"}],
        "rules": [{"from": [{"source": {}}, {"source": {"principals": ["spiffe://td/ns/a/sa/b", "a*b"]}}],
                   "to": [{"operation": {"ports": ["80"]}}],
                   "when": [{"key": "source.port", "values": ["1"]}, {"key": "source.ip", "values": ["10.0.0.0/99"]}]}]}),
    );
    let found = issues(&policy).join("\n");
    for field in [
        "spec.targetRefs: cannot stand beside a selector",
        "spec.targetRefs[0].kind: \"Pod\" is none of Service, ServiceEntry, Gateway",
        "spec.rules[0].from[0].source: sets no field",
        "spec.rules[0].from[1].source.principals[0]: ",
        "spec.rules[0].from[1].source.principals[1]: \"a*b\"",
        "spec.rules[0].when[0].key: \"source.port\"",
        "spec.rules[0].when[1].values[0]: ",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    let bad = culvert("AuthorizationPolicy", json!({"action": "AUDIT"}));
    assert!(issues(&bad)[0].starts_with("spec.action: unknown variant `AUDIT`"));
    let bad = culvert(
        "AuthorizationPolicy",
        json!({"rules": [{"to": [{"operation": {"ports": ["http"]}}]}]}),
    );
    assert!(
        issues(&bad)[0].starts_with("spec.rules[0].to[0].operation.ports[0]: \"http\" is no port")
    );
}

#[test]
fn peer_authentication_ports_are_numbers() {
    let good = culvert(
        "PeerAuthentication",
        json!({
        "selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}),
    );
    assert!(admit(&good).is_ok());
    let bad = culvert(
        "PeerAuthentication",
        json!({"portLevelMtls": {"8080": {"mode": "STRICT"}}}),
    );
    assert_eq!(issues(&bad), ["spec.portLevelMtls: needs a selector"]);
    let bad = culvert("PeerAuthentication", json!({"mtls": {"mode": "DISABLE"}}));
    assert!(
        issues(&bad)[0].starts_with("spec.mtls.mode: unknown variant `DISABLE`"),
        "{:?}",
        issues(&bad)
    );
    let bad = culvert("PeerAuthentication", json!({"portLevelMtls": {"http": {}}}));
    assert!(
        issues(&bad)[0].contains("\"http\" is no port"),
        "{:?}",
        issues(&bad)
    );
}

#[test]
fn routes() {
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "api"}, "method": "get",
                     "headers": [{"name": "a b", "value": "x"}, {"type": "RegularExpression", "name": "a", "value": "("}]}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 200}},
                    {"type": "URLRewrite"},
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "Host", "value": "x"}]}}],
        "timeouts": {"request": "1s", "backendRequest": "2s"},
        "retry": {"codes": [200]},
        "backendRefs": [{"name": "web", "port": 80, "weight": 2_000_000}]});
    let found = issues(&route(rule)).join("\n");
    for field in [
        "spec.rules[0].matches[0].path.value: \"api\" does not begin with /",
        "spec.rules[0].matches[0].method: \"get\"",
        "spec.rules[0].matches[0].headers[0].name: \"a b\"",
        "spec.rules[0].matches[0].headers[1].value: \"(\" is no regular expression",
        "spec.rules[0].filters: RequestRedirect and URLRewrite exclude each other",
        "spec.rules[0].filters[0].requestRedirect.statusCode: is none of",
        "spec.rules[0].filters[1].urlRewrite: is missing",
        "spec.rules[0].filters[2].requestHeaderModifier.set[0].name: \"Host\" cannot be changed",
        "spec.rules[0].timeouts.backendRequest: is longer than request, 1s",
        "spec.rules[0].retry.codes[0]: 200 is not between",
        "spec.rules[0].backendRefs[0].weight: is more than",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    let bad = route(json!({"backendRefs": [{"name": "web", "port": 0}]}));
    assert_eq!(
        issues(&bad),
        ["spec.rules[0].backendRefs[0].port: 0 is no port: 1 to 65535"]
    );
    let bad = route(json!({"timeouts": {"request": "10 s"}}));
    assert!(issues(&bad)[0].starts_with("spec.rules[0].timeouts.request: \"10 s\" is no duration"));
    let bad = route(json!({"backendRef": []}));
    assert_eq!(issues(&bad), ["spec.rules[0].backendRef: unknown field"]);
}

#[test]
fn traffic_and_fault_policies() {
    let bad = culvert(
        "TrafficPolicy",
        json!({"targetRefs": [],
        "retries": {"attempts": 1, "retryOn": "5xx,often"}, "retryConstraint": {"budget": {"percent": 101}}}),
    );
    let found = issues(&bad).join("\n");
    for field in [
        "spec.targetRefs: is empty",
        "spec.retries.retryOn: \"often\"",
        "spec.retryConstraint.budget.percent:",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    let bad = culvert(
        "FaultPolicy",
        json!({"targetRefs": [{"kind": "Service", "name": "web"}],
        "match": {"principals": ["td/ns/a"]},
        "delay": {"percentage": {"value": 0.001}, "fixedDelay": "1s"}, "abort": {"httpStatus": 99}}),
    );
    let found = issues(&bad).join("\n");
    for field in [
        "spec.match.principals[0]: ",
        "spec.delay.percentage.value: 0.001 is not between 0 and 100 in steps",
        "spec.abort.httpStatus: 99",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    assert_eq!(fault::per_ten_thousand(None), Ok(10_000));
    assert_eq!(
        traffic::retry_on("503, unavailable"),
        Ok((vec![503], vec!["grpc-unavailable".into()]))
    );
}

#[test]
fn what_may_leave_the_mesh() {
    for (spec, said) in [
        (
            json!({"egress": [{"to": []}]}),
            "spec.egress[0].to: is empty and would allow nothing",
        ),
        (
            json!({"egress": [{"to": [{}]}]}),
            "spec.egress[0].to[0]: has neither cidr nor host",
        ),
        (
            json!({"egress": [{"to": [{"cidr": "192.0.2.0/24", "host": "a.example"}]}]}),
            "spec.egress[0].to[0].host: stands beside cidr",
        ),
        (
            json!({"egress": [{"to": [{"host": "a.example", "except": ["192.0.2.0/24"]}]}]}),
            "spec.egress[0].to[0].except: stands without cidr",
        ),
        (
            json!({"egress": [{"to": [{"host": "192.0.2.1"}]}]}),
            "spec.egress[0].to[0].host: \"192.0.2.1\" is no name such as api.example.com",
        ),
        (
            json!({"egress": [{"to": [{"host": "*"}]}]}),
            "spec.egress[0].to[0].host: \"*\" is no name",
        ),
        (
            json!({"egress": [{"to": [{"host": "a.example"}], "ports": [{"port": 2, "endPort": 1}]}]}),
            "spec.egress[0].ports[0].endPort: is lower than port",
        ),
        (
            json!({"egress": [{"ports": [{"port": 1}]}]}),
            "missing field `to`",
        ),
        (json!({"egres": []}), "egres"),
    ] {
        let found = issues(&culvert("EgressPolicy", spec)).join("\n");
        assert!(found.contains(said), "{said} not in\n{found}");
    }
    for good in [
        json!({}),
        json!({"selector": {"matchLabels": {"app": "web"}}, "egress": [
            {"to": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.9"]}, {"host": "*.example.com"}],
             "ports": [{"port": 443}, {"port": "8000", "endPort": 8010}]}]}),
    ] {
        assert!(admit(&culvert("EgressPolicy", good)).is_ok());
    }
}

#[test]
fn policies_of_backends() {
    let policy = |spec: Value| {
        json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackendTrafficPolicy",
               "metadata": {"name": "p", "namespace": "demo"}, "spec": spec})
    };
    let service = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let good = json!({"targetRefs": service,
        "retryConstraint": {"budget": {"percent": 20, "interval": "10s"}, "minRetryRate": {"count": 10, "interval": "1s"}},
        "sessionPersistence": {"sessionName": "s", "absoluteTimeout": "1h", "type": "Cookie",
                               "cookieConfig": {"lifetimeType": "Permanent"}}});
    assert!(admit(&policy(good)).is_ok());
    let others = json!({"targetRefs": [{"group": "example.com", "kind": "Bucket", "name": "b"}]});
    assert!(admit(&policy(others)).is_ok(), "somebody else's matter");
    let bad = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "web", "sectionName": "http"}],
        "retryConstraint": {"budget": {"percent": 101, "interval": "500ms"}, "minRetryRate": {"count": 0, "interval": "2h"}},
        "sessionPersistence": {"type": "Header", "cookieConfig": {}}});
    assert_eq!(
        issues(&policy(bad)),
        [
            "spec.targetRefs[0].sectionName: cannot be named: the policy is for whole backends of its own namespace",
            "spec.retryConstraint.budget.percent: is more than 100",
            "spec.retryConstraint.budget.interval: is not between one second and one hour",
            "spec.retryConstraint.minRetryRate.count: is not between 1 and 1000000",
            "spec.retryConstraint.minRetryRate.interval: is longer than one hour",
            "spec.sessionPersistence.cookieConfig: is for sessions of type Cookie",
        ]
    );
    assert_eq!(issues(&policy(json!({}))), ["spec.targetRefs: is empty"]);
}

/// A FaultPolicy for a Service, or as `more` has it, is refused with these words.
fn refuses_fault(more: &Value, said: &str) {
    let mut spec = json!({"targetRefs": [{"kind": "Service", "name": "web"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let found = issues(&culvert("FaultPolicy", spec)).join("\n");
    assert!(found.contains(said), "{said} not in\n{found}");
}

#[test]
fn delays_and_times_of_faults() {
    let delay = json!({"fixedDelay": "1s"});
    for (spec, said) in [
        (json!({}), "spec: has none of delay, abort and tcp"),
        (
            json!({"targetRefs": [], "delay": delay}),
            "spec.targetRefs: is empty",
        ),
        (
            json!({"delay": {"fixedDelay": "1s", "uniform": {"min": "1s", "max": "2s"}}}),
            "spec.delay: has not exactly one of fixedDelay, uniform, normal, exponential",
        ),
        (
            json!({"delay": {"uniform": {"min": "3s", "max": "2s"}}}),
            "spec.delay.uniform.min: is more than max",
        ),
        (
            json!({"tcp": {"delay": {"exponential": {"mean": "0s", "max": "2h"}}}}),
            "spec.tcp.delay.exponential.mean: is zero\nspec.tcp.delay.exponential.max: is more than 1h",
        ),
        (
            json!({"tcp": {"delay": {"normal": {"mean": "3s", "stdDev": "1s", "max": "2s"}}}}),
            "spec.tcp.delay.normal.mean: is more than max",
        ),
        (
            json!({"delay": {"normal": {"mean": "3s", "stdDev": "1s"}}}),
            "missing field `max`",
        ),
        (
            json!({"delay": delay, "duration": "0s"}),
            "spec.duration: is zero",
        ),
        (
            json!({"delay": delay, "duration": "5m"}),
            "spec.startTime: is missing: it must be written beside duration",
        ),
        (
            json!({"delay": delay, "startTime": "noon"}),
            "spec.startTime: \"noon\" is no time such as",
        ),
    ] {
        refuses_fault(&spec, said);
    }
}

#[test]
fn faults_of_connections() {
    let (delay, labels) = (
        json!({"fixedDelay": "1s"}),
        json!({"matchLabels": {"app": "web"}}),
    );
    for (spec, said) in [
        (
            json!({"tcp": {}}),
            "spec.tcp: has none of delay, reset, blackhole and throttle",
        ),
        (
            json!({"tcp": {"throttle": {"bytesPerSecond": 0}}}),
            "spec.tcp.throttle.bytesPerSecond: is zero: write a blackhole",
        ),
        (
            json!({"tcp": {"reset": {"percentage": {"value": 101}}}}),
            "spec.tcp.reset.percentage.value: 101 is not between 0 and 100",
        ),
        (
            json!({"tcp": {"reset": {}}, "match": {"headers": [{"name": "a", "value": "b"}]}}),
            "spec.match.headers: stands beside tcp",
        ),
        (
            json!({"tcp": {"reset": {}}, "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]}),
            "spec.targetRefs[0].kind: \"HTTPRoute\" stands beside tcp",
        ),
        (
            json!({"tcp": {"reset": {}}, "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "r"}]}),
            "spec.targetRefs[0].kind: \"GRPCRoute\" stands beside tcp",
        ),
        (
            json!({"tcp": {"reset": {}}, "selector": labels}),
            "spec.selector: stands beside targetRefs",
        ),
        (
            json!({"targetRefs": [], "delay": delay, "selector": labels}),
            "spec.delay: stands beside selector",
        ),
        (
            json!({"targetRefs": [], "tcp": {"reset": {}}, "selector": {"matchLabels": {}}}),
            "spec.selector.matchLabels: is empty",
        ),
    ] {
        refuses_fault(&spec, said);
    }
}

#[test]
fn resilience_names_each_wrong_field() {
    let bad = culvert(
        "TrafficPolicy",
        json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}],
        "loadBalancer": {"simple": "RANDOM", "warmup": {"duration": "0s", "minimumPercent": 0, "aggression": 0},
            "consistentHash": {"useSourceIp": true, "httpCookie": {"name": "a=b", "path": "x"}, "balanceFactor": 0.5}},
        "outlierDetection": {"interval": "0s", "maxEjectionPercent": 101,
            "successRate": {"stdevFactor": -1}, "latency": {"factor": 1}}}),
    );
    let found = issues(&bad).join("\n");
    for field in [
        "spec.outlierDetection: holds for Services",
        "spec.loadBalancer.warmup: holds for Services",
        "spec.loadBalancer.consistentHash: is there beside simple",
        "spec.loadBalancer.consistentHash: needs one of",
        "spec.loadBalancer.consistentHash.httpCookie.name: ",
        "spec.loadBalancer.consistentHash.httpCookie.path: ",
        "spec.loadBalancer.consistentHash.balanceFactor: 0.5 is not between 1 and 100",
        "spec.loadBalancer.warmup.duration: is zero",
        "spec.loadBalancer.warmup.minimumPercent: 0 ",
        "spec.loadBalancer.warmup.aggression: ",
        "spec.outlierDetection.interval: is zero",
        "spec.outlierDetection.maxEjectionPercent: is more than 100",
        "spec.outlierDetection.successRate.stdevFactor: ",
        "spec.outlierDetection.latency.factor: ",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    let empty = json!({"targetRefs": [{"kind": "Service", "name": "web"}], "loadBalancer": {}});
    let found = issues(&culvert("TrafficPolicy", empty)).join("\n");
    assert!(found.contains("spec.loadBalancer: has none of"), "{found}");
}

#[test]
fn sessions_have_names_and_lifetimes_that_fit() {
    let session = |session| issues(&route(json!({"sessionPersistence": session})));
    let at = "spec.rules[0].sessionPersistence";
    for (written, wrong) in [
        (json!({"sessionName": "a b"}), "sessionName: "),
        (
            json!({"type": "Header", "cookieConfig": {}}),
            "cookieConfig: is for",
        ),
        (
            json!({"cookieConfig": {"lifetimeType": "Permanent"}}),
            "absoluteTimeout: is needed",
        ),
        (json!({"type": "Query"}), "type: "),
    ] {
        let found = session(written);
        assert!(found[0].starts_with(&format!("{at}.{wrong}")), "{found:?}");
    }
}

#[test]
fn mesh_config_is_one_and_belongs_to_no_namespace() {
    let bad = culvert(
        "MeshConfig",
        json!({"trustDomain": "A", "certificateTTL": "1s"}),
    );
    let found = issues(&bad).join("\n");
    for field in [
        "metadata.namespace: ",
        "metadata.name: ",
        "spec.trustDomain: ",
        "spec.certificateTTL: ",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
}

#[test]
fn gateways_of_other_classes_may_say_what_they_like() {
    let gateway = |class: &str, listener: Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
               "metadata": {"name": "g", "namespace": "demo"},
               "spec": {"gatewayClassName": class, "listeners": [listener]}})
    };
    let https =
        json!({"name": "x", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Terminate"}});
    let Ok(Object::Gateway(other)) = admit(&gateway("nginx", https.clone())) else {
        panic!()
    };
    assert!(other.spec.waypoint.is_none());
    assert!(
        issues(&gateway("culvert-waypoint", https))[0].starts_with("spec.listeners[0].protocol:")
    );
    let hbone = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
    let Ok(Object::Gateway(ours)) = admit(&gateway("culvert-waypoint", hbone)) else {
        panic!()
    };
    assert_eq!(ours.spec.waypoint.as_ref().unwrap().port, 15008);
}

#[test]
fn routes_of_grpc_name_services_and_methods_and_have_fewer_filters() {
    let mut value = route(json!({
        "matches": [{"method": {}}, {"method": {"service": "a/b"}}, {"method": {"method": "a.b"}},
                    {"method": {"type": "RegularExpression", "service": "("}}, {"path": {"value": "/"}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}],
        "timeouts": {"request": "1s"}}));
    value["kind"] = "GRPCRoute".into();
    let found = issues(&value).join("\n");
    for field in [
        "spec.rules[0].matches[4].path: unknown field",
        "spec.rules[0].timeouts: unknown field",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
    let rule = &mut value["spec"]["rules"][0];
    rule["matches"].as_array_mut().unwrap().pop();
    rule.as_object_mut().unwrap().remove("timeouts");
    let found = issues(&value).join("\n");
    for field in [
        "spec.rules[0].matches[0].method: names neither",
        "spec.rules[0].matches[1].method: \"a/b\" is no name",
        "spec.rules[0].matches[2].method: \"a.b\" is no name",
        "spec.rules[0].matches[3].method: \"/(?:()/(?:[^/]+)\" is no regular expression",
        "spec.rules[0].filters[0].type: UrlRewrite is no filter of a GRPCRoute",
    ] {
        assert!(found.contains(field), "{field} not in\n{found}");
    }
}
