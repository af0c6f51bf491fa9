//! What becomes of Ingresses: routes, listeners, certificates, and what is said of mistakes.

use std::collections::BTreeSet;

use culvert_proto::waypoint::{self as wire, http_backend::Target, http_filter, path_match};
use serde_json::{Value, json};

use super::*;
use crate::testing::{
    ingress, ingress_path as path, mesh_config, object, pairs, secret, service, world,
};
use crate::translate::{Finding, Message};

fn rules(host: &str, paths: &[Value]) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

fn cert(namespace: &str, name: &str) -> Value {
    let (chain, key) = &pairs()[0];
    secret(namespace, name, (chain, key))
}

fn made(world: &World, name: (&str, &str)) -> Made {
    let name = NsName::new(name.0, name.1);
    route(world, world.cache.ingresses.get(&name).unwrap())
}

/// One rule as text: how, what, where to.
fn shown(rule: &wire::HttpRule) -> String {
    let path = rule.matches[0].path.as_ref().unwrap();
    let path = match path.kind.as_ref().unwrap() {
        path_match::Kind::Exact(path) => format!("= {path}"),
        path_match::Kind::Prefix(path) => format!("{path} ..."),
        path_match::Kind::Regex(path) => format!("~ {path}"),
    };
    let to = match (rule.filters.as_slice(), rule.backends.as_slice()) {
        ([], [backend]) => match backend.target.as_ref().unwrap() {
            Target::Service(to) => format!("{}:{}", to.service.split('.').next().unwrap(), to.port),
            Target::Unresolved(why) => format!("none: {why}"),
        },
        ([filter], []) => match filter.kind.as_ref().unwrap() {
            http_filter::Kind::Redirect(to) => format!("{} {}", to.status, to.scheme),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    format!("{path} -> {to}")
}

/// Routes as text: the listeners of each, and its rules.
fn routes(made: &Made) -> Vec<(String, Vec<String>)> {
    let route = |resource: &crate::translate::Resource| {
        let Message::HttpRoute(route) = &resource.message else {
            panic!("{resource:?}")
        };
        assert!(route.parents.is_empty() && route.hostnames.is_empty() && !route.grpc);
        let at = route.listeners.iter().map(|at| {
            assert_eq!(at.gateway, "culvert-system/culvert-ingress");
            at.listener.as_str()
        });
        let at: Vec<_> = at.collect();
        (at.join(" "), route.rules.iter().map(shown).collect())
    };
    made.resources.iter().map(route).collect()
}

/// Findings as text.
fn said(findings: &[Finding]) -> Vec<String> {
    let all = findings.iter().filter(|found| found.reason != "Pending");
    all.map(|found| {
        let condition = found.condition.as_str();
        assert!(found.error, "{found:?}");
        format!(
            "{condition} {} {}: {}",
            found.reason, found.field, found.message
        )
    })
    .collect()
}

/// Listeners as text, and the certificates that are told with them.
fn listeners(world: &World) -> (Vec<String>, Vec<String>) {
    let (made, findings) = of(world);
    assert!(
        findings.iter().all(|found| found.reason == "Pending"),
        "{findings:?}"
    );
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    for resource in made {
        let Message::Gateway(gateway) = resource.message else {
            told.push(resource.name.to_string());
            continue;
        };
        assert_eq!(&*resource.name, "Gateway/culvert-system/culvert-ingress");
        let mut names = BTreeSet::new();
        for listener in gateway.listeners {
            assert!(names.insert(listener.name.clone()), "{}", listener.name);
            assert_eq!(listener.one_label, listener.hostname.starts_with("*."));
            let expected = if listener.name.starts_with("https/") {
                (443, wire::ListenerProtocol::Https)
            } else {
                (80, wire::ListenerProtocol::Http)
            };
            assert_eq!((listener.port, listener.protocol()), expected);
            let rest = [listener.certificates.join(" "), listener.unresolved].concat();
            lines.push(
                format!("{} [{}] {rest}", listener.name, listener.hostname)
                    .trim()
                    .to_owned(),
            );
        }
    }
    let secrets: Vec<_> = secrets(world)
        .iter()
        .map(crate::translate::names::certificate)
        .collect();
    assert_eq!(secrets, told);
    (lines, told)
}

fn web() -> Vec<Value> {
    vec![
        service("demo", "web", "a", "10.96.0.1"),
        service("demo", "api", "b", "10.96.0.2"),
    ]
}

#[test]
fn each_host_has_a_route_with_its_paths() {
    let mut objects = web();
    objects.push(ingress(
        "demo",
        "i",
        1,
        json!({"rules": [
        rules("x.org", &[path("Exact", "/a", "web"), path("Prefix", "/b/", "api")]),
        rules("*.y.org", &[path("ImplementationSpecific", "/", "web")]),
        rules("x.org", &[path("Prefix", "/c", "web")]),
        {"http": {"paths": [path("Prefix", "/", "api")]}}]}),
    ));
    let world = world(&objects);
    let made = made(&world, ("demo", "i"));
    let route = |at: &str, rules: &[&str]| {
        (
            at.to_owned(),
            rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        routes(&made),
        [
            route("http/*", &["/ ... -> demo/api:80"]),
            route("http/*.y.org", &["/ ... -> demo/web:80"]),
            route(
                "http/x.org",
                &[
                    "= /a -> demo/web:80",
                    "/b/ ... -> demo/api:80",
                    "/c ... -> demo/web:80"
                ]
            ),
        ]
    );
    let names: Vec<_> = made.resources.iter().map(|r| r.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "Ingress/demo/i/host/*",
            "Ingress/demo/i/host/*.y.org",
            "Ingress/demo/i/host/x.org"
        ]
    );
    let Message::HttpRoute(first) = &made.resources[0].message else {
        panic!()
    };
    assert_eq!(
        (first.namespace.as_str(), first.name.as_str()),
        ("demo", "ingress:i")
    );
    assert_eq!(first.created, "2026-01-01T00:00:01Z");
    assert_eq!(said(&made.findings), Vec::<String>::new());
    let backends: Vec<_> = made.backends.iter().map(ToString::to_string).collect();
    assert_eq!(backends, ["demo/api", "demo/web"]);
    let gateway = NsName::new("culvert-system", "culvert-ingress");
    assert_eq!(made.attached, [(gateway, "http".to_owned())]);
    assert_eq!(
        listeners(&world).0,
        ["http/* []", "http/*.y.org [*.y.org]", "http/x.org [x.org]"]
    );
}

#[test]
fn certificates_belong_to_hosts_and_no_other_takes_their_place() {
    let mut objects = web();
    objects.extend([cert("demo", "x"), cert("demo", "wild"), cert("far", "y")]);
    let all = |host: &str| rules(host, &[path("Prefix", "/", "web")]);
    objects.push(ingress("demo", "i", 1, json!({
        "rules": [all("x.org"), all("*.x.org"), all("plain.org")],
        "tls": [{"hosts": ["x.org"], "secretName": "x"}, {"hosts": ["*.x.org"], "secretName": "wild"}]})));
    // Of another namespace, in the wildcard and without a certificate; and one whose Secret is another namespace's.
    objects.push(ingress(
        "far",
        "i",
        2,
        json!({
        "rules": [all("a.x.org"), all("y.org"), all("a.b.x.org")],
        "tls": [{"hosts": ["y.org"], "secretName": "x"}]}),
    ));
    let world = world(&objects);
    let (lines, told) = listeners(&world);
    assert_eq!(
        lines,
        [
            "http/*.x.org [*.x.org]",
            "https/*.x.org [*.x.org] Secret/demo/wild",
            "http/a.b.x.org [a.b.x.org]",
            "http/a.x.org [a.x.org]",
            "https/a.x.org [a.x.org] no Ingress has a certificate for a.x.org",
            "http/plain.org [plain.org]",
            "http/x.org [x.org]",
            "https/x.org [x.org] Secret/demo/x",
            "http/y.org [y.org]",
            "https/y.org [y.org] there is no Secret far/x of type kubernetes.io/tls",
        ]
    );
    assert_eq!(told, ["Secret/demo/wild", "Secret/demo/x"]);
    let of_far = made(&world, ("far", "i"));
    let missing = "there is no Service far/web";
    assert_eq!(
        said(&of_far.findings),
        [
            format!("ResolvedRefs BackendNotFound spec.rules[2].http.paths[0].backend.service.name: {missing}"),
            format!("ResolvedRefs BackendNotFound spec.rules[0].http.paths[0].backend.service.name: {missing}"),
            format!("ResolvedRefs BackendNotFound spec.rules[1].http.paths[0].backend.service.name: {missing}"),
            "ResolvedRefs InvalidCertificateRef spec.tls[0].secretName: there is no Secret far/x of type kubernetes.io/tls".to_owned(),
        ]
    );
    let first = &routes(&of_far)[0];
    assert_eq!(first.1, [format!("/ ... -> none: {missing}")]);
    let secure: Vec<_> = routes(&of_far).into_iter().map(|(at, _)| at).collect();
    assert_eq!(
        secure,
        ["http/a.b.x.org", "http/a.x.org", "http/y.org https/y.org"]
    );
}

#[test]
fn a_redirect_is_for_plain_text_alone() {
    let mut objects = web();
    objects.push(cert("demo", "x"));
    let mut redirecting = ingress(
        "demo",
        "i",
        1,
        json!({
        "rules": [rules("x.org", &[path("Exact", "/a", "web"), path("Prefix", "/", "api")]),
                  rules("y.org", &[path("Prefix", "/", "api")])],
        "tls": [{"hosts": ["x.org"], "secretName": "x"}]}),
    );
    redirecting["metadata"]["annotations"] = json!({"culvert.dev/ssl-redirect": "true"});
    objects.push(redirecting);
    // One beside it that says nothing of it serves both.
    objects.push(ingress(
        "demo",
        "j",
        2,
        json!({"rules": [rules("x.org", &[path("Prefix", "/b", "web")])]}),
    ));
    let world = world(&objects);
    let of_i = made(&world, ("demo", "i"));
    let own = |text: &str| text.to_owned();
    assert_eq!(
        routes(&of_i),
        [
            (
                own("http/x.org"),
                vec![own("= /a -> 308 https"), own("/ ... -> 308 https")]
            ),
            (
                own("https/x.org"),
                vec![own("= /a -> demo/web:80"), own("/ ... -> demo/api:80")]
            ),
            (own("http/y.org"), vec![own("/ ... -> 308 https")]),
        ]
    );
    assert_eq!(
        said(&of_i.findings),
        [
            "ResolvedRefs InvalidCertificateRef metadata.annotations[culvert.dev/ssl-redirect]: no Ingress has a certificate \
          for y.org: clients are sent to what is not served"
        ]
    );
    let ports: Vec<_> = of_i
        .attached
        .iter()
        .map(|(_, port)| port.as_str())
        .collect();
    assert_eq!(ports, ["http", "https"]);
    let of_j = made(&world, ("demo", "j"));
    assert_eq!(
        routes(&of_j),
        [(
            own("http/x.org https/x.org"),
            vec![own("/b ... -> demo/web:80")]
        )]
    );
}

#[test]
fn a_default_backend_takes_what_nothing_matches() {
    let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "http"}}});
    let mut objects = web();
    objects.push(ingress(
        "demo",
        "old",
        1,
        json!({"defaultBackend": backend("api"),
        "rules": [rules("x.org", &[path("Prefix", "/a", "web")]), {"host": "y.org"}]}),
    ));
    objects.push(ingress(
        "demo",
        "young",
        2,
        json!({"defaultBackend": backend("web"),
        "rules": [rules("y.org", &[path("Prefix", "/", "web")]), {"host": "z.org"}]}),
    ));
    let world = world(&objects);
    let own = |text: &str| text.to_owned();
    let everything = |service: &str| own(&format!("/ ... -> demo/{service}:80"));
    assert_eq!(
        routes(&made(&world, ("demo", "old"))),
        [
            (own("http/*"), vec![everything("api")]),
            (
                own("http/x.org"),
                vec![own("/a ... -> demo/web:80"), everything("api")]
            ),
            // Another Ingress says where all of it goes.
            (own("http/y.org"), vec![]),
        ]
    );
    assert_eq!(
        routes(&made(&world, ("demo", "young"))),
        [
            (own("http/*"), vec![]),
            (own("http/y.org"), vec![everything("web")]),
            (own("http/z.org"), vec![everything("web")]),
        ]
    );
}

#[test]
fn of_two_with_one_path_the_older_counts_and_the_other_is_told() {
    let mut objects = web();
    objects.push(ingress(
        "demo",
        "old",
        1,
        json!({"rules": [rules("x.org", &[
        path("Prefix", "/a/", "web"), path("Exact", "/b", "web"), path("Prefix", "/a", "api")])]}),
    ));
    objects.push(ingress("demo", "young", 2, json!({"rules": [rules("x.org", &[
        path("Prefix", "/a", "api"), path("Prefix", "/b", "api"), path("Exact", "/b/", "api"), path("Exact", "/b", "api")])]})));
    let world = world(&objects);
    let old = made(&world, ("demo", "old"));
    assert_eq!(
        said(&old.findings),
        ["Accepted PathTaken spec.rules[0].http.paths[2].path: stands twice: the first one counts"]
    );
    let young = made(&world, ("demo", "young"));
    let taken = |i: usize| {
        format!(
            "Accepted PathTaken spec.rules[0].http.paths[{i}].path: the older Ingress demo/old has this path already"
        )
    };
    assert_eq!(said(&young.findings), [taken(0), taken(3)]);
    assert_eq!(
        routes(&young)[0].1,
        ["/b ... -> demo/api:80", "= /b/ -> demo/api:80"]
    );
}

#[test]
fn a_second_namespace_is_refused_and_told_unless_hosts_are_shared() {
    let one = |namespace: &str, second, at: &str| {
        ingress(
            namespace,
            "i",
            second,
            json!({"rules": [rules("x.org", &[path("Prefix", at, "web")])],
            "tls": [{"hosts": ["x.org"], "secretName": "x"}],
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}),
        )
    };
    let mut world = world(&[
        one("demo", 1, "/a"),
        one("far", 2, "/a/b"),
        cert("demo", "x"),
        cert("far", "x"),
        service("demo", "web", "a", "10.96.0.1"),
        service("far", "web", "a", "10.96.0.7"),
    ]);
    let far = made(&world, ("far", "i"));
    assert_eq!(routes(&far), []);
    assert_eq!(far.attached, []);
    let rest = "first: nothing of this Ingress is served there (MeshConfig's ingressHostOwnership)";
    assert_eq!(
        said(&far.findings),
        [
            format!(
                "Accepted HostNotOwned spec.defaultBackend: namespace demo had all hosts that no Ingress names {rest}"
            ),
            format!("Accepted HostNotOwned spec.rules[0].host: namespace demo had x.org {rest}"),
        ]
    );
    let secure = [
        "http/* []",
        "http/x.org [x.org]",
        "https/x.org [x.org] Secret/demo/x",
    ];
    assert_eq!(listeners(&world).0, secure);
    world.put(&object(&mesh_config(
        json!({"ingressHostOwnership": "Shared"}),
    )));
    let far = made(&world, ("far", "i"));
    assert_eq!(
        said(&far.findings),
        [
            "Accepted CertificateConflict spec.tls[0].secretName: the older Ingress demo/i has a certificate for x.org already: \
          that one is used"
        ]
    );
    let at_host = |made: &Made| {
        routes(made)
            .into_iter()
            .find(|(at, _)| at.contains("x.org"))
            .unwrap()
    };
    assert_eq!(
        at_host(&far),
        (
            "http/x.org https/x.org".into(),
            vec!["/a/b ... -> far/web:80".to_owned()]
        )
    );
    assert_eq!(
        listeners(&world).0,
        secure,
        "of certificates the oldest counts"
    );
}

#[test]
fn what_leads_nowhere_is_answered_with_an_error_and_told() {
    let backend = |backend: Value| json!({"path": "/", "pathType": "Prefix", "backend": backend});
    for (to, field, reason, message) in [
        (
            json!({"service": {"name": "gone", "port": {"number": 80}}}),
            "service.name",
            "BackendNotFound",
            "there is no Service demo/gone",
        ),
        (
            json!({"service": {"name": "web", "port": {"number": 81}}}),
            "service.port",
            "BackendNotFound",
            "Service demo/web has no port 81",
        ),
        (
            json!({"service": {"name": "web", "port": {"name": "grpc"}}}),
            "service.port",
            "BackendNotFound",
            "Service demo/web has no port named \"grpc\"",
        ),
        (
            json!({"resource": {"kind": "Bucket", "name": "b"}}),
            "resource",
            "InvalidKind",
            "Bucket b is no Service",
        ),
    ] {
        let mut objects = web();
        let spec = json!({"rules": [rules("x.org", &[backend(to)])]});
        objects.push(ingress("demo", "i", 1, spec));
        let made = made(&world(&objects), ("demo", "i"));
        assert_eq!(routes(&made)[0].1, [format!("/ ... -> none: {message}")]);
        let at = format!("spec.rules[0].http.paths[0].backend.{field}");
        assert_eq!(
            said(&made.findings),
            [format!("ResolvedRefs {reason} {at}: {message}")]
        );
    }
}

#[test]
fn certificates_that_are_missing_or_for_nobody_are_told() {
    let mut objects = web();
    objects.push(secret("demo", "bad", ("x", "y")));
    objects.push(ingress("demo", "i", 1, json!({
        "rules": [rules("x.org", &[path("Prefix", "/", "web")]), rules("y.org", &[path("Prefix", "/", "web")])],
        "tls": [{"hosts": ["x.org"], "secretName": "bad"}, {"hosts": ["y.org"]}, {"hosts": ["z.org"], "secretName": "bad"}]})));
    let world = world(&objects);
    let bad = "Secret demo/bad: tls.crt holds no certificate in PEM";
    assert_eq!(
        said(&made(&world, ("demo", "i")).findings),
        [
            format!("ResolvedRefs InvalidCertificateRef spec.tls[0].secretName: {bad}"),
            "ResolvedRefs InvalidCertificateRef spec.tls[1].secretName: is missing: TLS ends here, with a certificate".to_owned(),
            format!("ResolvedRefs InvalidCertificateRef spec.tls[2].secretName: {bad}"),
            "Accepted UnsupportedValue spec.tls[2].hosts: no rule is for any of them".to_owned(),
        ]
    );
    let lines = [
        "http/x.org [x.org]".to_owned(),
        format!("https/x.org [x.org] {bad}"),
        "http/y.org [y.org]".to_owned(),
    ];
    assert_eq!(listeners(&world).0, lines);
    let attached = BTreeMap::from([("http".to_owned(), 1)]);
    let said: Vec<_> = state(&world, &attached)
        .listeners
        .iter()
        .map(|listener| {
            let refs = listener
                .words
                .iter()
                .find(|word| word.condition == "ResolvedRefs");
            let refs = refs.unwrap();
            (
                listener.name.clone(),
                listener.attached,
                refs.status,
                refs.message.clone(),
            )
        })
        .collect();
    let message = "1 hosts have no usable certificate, see their Ingresses: x.org";
    assert_eq!(
        said,
        [
            ("http".into(), 1, true, String::new()),
            ("https".into(), 0, false, message.to_owned())
        ]
    );
}

#[test]
fn what_other_controllers_mean_by_a_path_is_told_not_to_count() {
    let mut objects = web();
    let spec = json!({"rules": [rules("x.org", &[
        path("ImplementationSpecific", "/a(/|$)(.*)", "web"), path("ImplementationSpecific", "/b", "web")])]});
    objects.push(ingress("demo", "i", 1, spec));
    let made = made(&world(&objects), ("demo", "i"));
    assert_eq!(
        routes(&made)[0].1,
        ["/a(/|$)(.*) ... -> demo/web:80", "/b ... -> demo/web:80"]
    );
    assert_eq!(
        said(&made.findings),
        [
            "Accepted UnsupportedValue spec.rules[0].http.paths[0].path: \"/a(/|$)(.*)\": ImplementationSpecific is Prefix \
          here, and no character stands for others"
        ]
    );
}

#[test]
fn a_class_with_parameters_serves_nothing_and_others_are_none_of_our_business() {
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "culvert"},
        "spec": {"controller": "culvert.dev/ingress", "parameters": {"kind": "ConfigMap", "name": "p"}}});
    let spec = json!({"rules": [rules("x.org", &[path("Prefix", "/", "gone")])]});
    let mut foreign = ingress("demo", "j", 1, spec.clone());
    foreign["spec"]["ingressClassName"] = json!("nginx");
    let world = world(&[class, ingress("demo", "i", 1, spec), foreign]);
    let made_of = |name| made(&world, ("demo", name));
    assert_eq!(
        said(&made_of("i").findings),
        [
            "Accepted InvalidParameters spec.ingressClassName: IngressClass culvert has parameters: leave them out, a class has none"
        ]
    );
    assert!(made_of("i").resources.is_empty());
    assert!(made_of("j").resources.is_empty() && made_of("j").findings.is_empty());
    assert!(any(&world));
    assert_eq!(listeners(&world).0, Vec::<String>::new());
}

#[test]
fn without_an_ingress_of_ours_there_is_no_gateway() {
    let mut foreign = ingress("demo", "i", 1, json!({"rules": [rules("x.org", &[])]}));
    foreign["spec"]["ingressClassName"] = json!("nginx");
    let world = world(&[foreign]);
    assert!(!any(&world));
    assert!(of(&world).0.is_empty() && secrets(&world).is_empty());
}
