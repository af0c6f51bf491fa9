//! Gateways and what is served by them: ListenerSets, routes, policies, Ingresses.

use super::*;

pub(super) fn candidates() -> Candidates {
    [gateways(), sets(), of_gateways(), ingresses()].concat()
}

fn gateways() -> Candidates {
    let listener = |protocol: &str, port: u16| json!({"name": protocol.to_lowercase(), "port": port, "protocol": protocol});
    let tls = |namespace: &str| {
        let mut listener = listener("HTTPS", 443);
        listener["tls"] = json!({"certificateRefs": [{"name": "cert", "namespace": namespace}]});
        listener
    };
    let passthrough = || {
        with(
            listener("TLS", 8443),
            "/tls",
            json!({"mode": "Passthrough"}),
        )
    };
    let selector = json!({"namespaces": {"from": "Selector",
        "selector": {"matchLabels": {"culvert.dev/dataplane-mode": "ambient"}}}});
    let all = json!({"namespaces": {"from": "All"}});
    let [good, other] = pairs();
    let of =
        |namespace: &str, pair: &(String, String)| secret(namespace, "cert", (&pair.0, &pair.1));
    let edge = |listeners: Value| gateway("demo", "edge", listeners);
    vec![
        vec![
            edge(json!([
                listener("HTTP", 80),
                tls("demo"),
                listener("TCP", 9000),
                passthrough()
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/allowedRoutes", all.clone()),
                tls("far")
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/allowedRoutes", selector),
                listener("TCP", 80)
            ])),
            edge(json!([
                with(listener("HTTP", 80), "/hostname", json!("*.x.org")),
                tls("gone")
            ])),
            with(
                edge(json!([listener("HTTP", 80)])),
                "/spec/tls",
                json!({"backend": {"clientCertificateRef": {"name": "cert", "namespace": "far"}}}),
            ),
            waypoint("demo", "edge", "10.0.0.8"),
        ],
        vec![of("demo", good), of("demo", other)],
        vec![of("far", good)],
        vec![secret("far", "bad", ("x", "y"))],
        vec![
            grant("far", ("Gateway", "demo"), "Secret"),
            grant("far", ("HTTPRoute", "demo"), "Service"),
            grant("far", ("TCPRoute", "demo"), "Service"),
        ],
        vec![gateway(
            "far",
            "rim",
            json!([with(tls("far"), "/allowedRoutes", all)]),
        )],
    ]
}

/// ListenerSets, whom Gateways allow, and what both ask of clients. Their authorities are those of backends.
fn sets() -> Candidates {
    let listener = |name: &str, protocol: &str, port: u16, host: &str| json!({"name": name, "port": port, "protocol": protocol, "hostname": host});
    let mut secure = listener("https", "HTTPS", 443, "a.x.org");
    secure["tls"] = json!({"certificateRefs": [{"name": "cert", "namespace": "far"}]});
    let http = listener("http", "HTTP", 80, "s.x.org");
    let open = json!({"namespaces": {"from": "All"}});
    let allowing = |from: Value| {
        let own = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        let edge = gateway("demo", "shared", own);
        let edge = with(
            edge,
            "/spec/allowedListeners",
            json!({ "namespaces": from }),
        );
        let asked = json!([{"kind": "ConfigMap", "group": "", "name": "ca"}]);
        let frontend = json!({"default": {"validation": {"caCertificateRefs": asked}}});
        with(edge, "/spec/tls", json!({ "frontend": frontend }))
    };
    let selector = json!({"from": "Selector", "selector": {"matchLabels": {"culvert.dev/dataplane-mode": "ambient"}}});
    let to = |set: &str, rules: &str| {
        let parent = json!([{"kind": "ListenerSet", "group": "gateway.networking.k8s.io", "name": set, "namespace": "demo"}]);
        let rules = json!([{"backendRefs": [{"name": rules, "port": 80}]}]);
        route("demo", "l", json!({"parentRefs": parent, "rules": rules}))
    };
    let other = |grant: Value| with(grant, "/metadata/name", json!("other"));
    let edge = ("demo", "shared");
    vec![
        vec![
            allowing(json!({"from": "All"})),
            allowing(selector),
            allowing(json!({"from": "Same"})),
            waypoint("demo", "shared", "10.0.0.6"),
        ],
        vec![
            listener_set(
                "demo",
                "one",
                edge,
                json!([with(http.clone(), "/allowedRoutes", open), secure.clone()]),
            ),
            listener_set(
                "demo",
                "one",
                edge,
                json!([json!({"name": "http", "port": 80, "protocol": "TCP"})]),
            ),
            listener_set("demo", "one", ("far", "rim"), json!([http.clone()])),
            listener_set(
                "demo",
                "one",
                ("culvert-system", "culvert-ingress"),
                json!([http.clone()]),
            ),
        ],
        vec![listener_set("far", "two", edge, json!([http, secure]))],
        vec![
            other(grant("far", ("ListenerSet", "demo"), "Secret")),
            other(grant("far", ("Gateway", "demo"), "ConfigMap")),
        ],
        vec![to("one", "web"), to("two", "v2")],
        vec![namespace(
            "far",
            json!({"culvert.dev/dataplane-mode": "ambient"}),
        )],
    ]
}

fn of_gateways() -> Candidates {
    let to = |namespace: &str| json!([{"backendRefs": [{"name": "web", "namespace": namespace, "port": 80}]}]);
    let edge =
        |section: Value| json!([{"name": "edge", "namespace": "demo", "sectionName": section}]);
    let both = json!([{"name": "edge"}, {"name": "rim", "namespace": "far"}, {"group": "", "kind": "Service", "name": "web"}]);
    let stream = |kind: &str, parents: Value, rules: Value| {
        of_kind(
            kind,
            route("demo", "s", json!({"parentRefs": parents, "rules": rules})),
        )
    };
    let hosts = json!(["a.x.org", "b.y.org"]);
    vec![
        vec![
            route("demo", "e", json!({"parentRefs": both, "rules": to("far")})),
            route(
                "demo",
                "e",
                json!({"parentRefs": edge(Value::Null), "hostnames": hosts, "rules": to("demo")}),
            ),
            route(
                "demo",
                "e",
                json!({"parentRefs": edge(json!("https")), "rules": to("far")}),
            ),
        ],
        vec![route(
            "far",
            "e",
            json!({"parentRefs": edge(json!("http")), "rules": to("far")}),
        )],
        vec![
            stream("TCPRoute", edge(Value::Null), to("demo")),
            stream("TCPRoute", both, to("far")),
        ],
        vec![
            stream("TLSRoute", edge(json!("tls")), to("demo")),
            stream("TLSRoute", target("Service", "web"), to("demo")),
        ],
    ]
}

fn ingresses() -> Candidates {
    let rule = |host: &str, service: &str| json!({"host": host, "http": {"paths": [ingress_path("Prefix", "/", service)]}});
    let tls = |hosts: &[&str]| json!([{"hosts": hosts, "secretName": "cert"}]);
    let of_demo = |second, spec| ingress("demo", "i", second, spec);
    let default = json!({"service": {"name": "web", "port": {"number": 80}}});
    let redirecting = with(
        of_demo(
            2,
            json!({"rules": [rule("x.org", "v2")], "tls": tls(&["x.org"])}),
        ),
        "/metadata/annotations",
        json!({"culvert.dev/ssl-redirect": "true"}),
    );
    let class = |controller: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
               "metadata": {"name": "culvert"}, "spec": {"controller": controller}})
    };
    vec![
        vec![
            of_demo(
                2,
                json!({"rules": [rule("x.org", "web"), rule("*.x.org", "v2")], "tls": tls(&["*.x.org"])}),
            ),
            of_demo(
                2,
                json!({"rules": [rule("y.org", "gone")], "defaultBackend": default}),
            ),
            redirecting,
        ],
        vec![
            ingress("demo", "j", 1, json!({"rules": [rule("x.org", "v2")]})),
            ingress(
                "demo",
                "j",
                3,
                json!({"rules": [rule("x.org", "web")], "defaultBackend": default}),
            ),
        ],
        vec![
            ingress(
                "far",
                "i",
                1,
                json!({"rules": [rule("x.org", "web")], "tls": tls(&[])}),
            ),
            ingress(
                "far",
                "i",
                4,
                json!({"rules": [rule("a.x.org", "web"), rule("y.org", "web")], "defaultBackend": default}),
            ),
        ],
        vec![class("culvert.dev/ingress"), class("example.com/other")],
        vec![gateway(
            "culvert-system",
            "culvert-ingress",
            json!([{"name": "http", "port": 80, "protocol": "HTTP"}]),
        )],
        vec![route(
            "culvert-system",
            "stray",
            json!({"parentRefs": [{"name": "culvert-ingress"}], "rules": []}),
        )],
    ]
}
