//! Routes: references that hold, and that those which don't answer 500 and say so.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use culvert_proto::waypoint::{
    HttpBackend, ServiceRef, http_backend::Target, http_filter, path_change,
};
use serde_json::{Value, json};

use super::*;
use crate::testing::{route, service, world};

fn made(rule: Value, more: &[Value]) -> (HttpRoute, Vec<(String, &'static str)>) {
    let spec =
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": [rule]});
    let mut objects = vec![
        service("demo", "web", "web", "10.96.0.1"),
        route("demo", "r", spec),
    ];
    objects.extend_from_slice(more);
    let world = world(&objects);
    let translated = of(
        &world,
        Kind::HttpRoute,
        world.cache.routes.iter().next().unwrap(),
    );
    let Some(Message::HttpRoute(record)) = translated.resource.map(|r| r.message) else {
        panic!()
    };
    let findings = translated.findings.iter().filter(|f| f.error);
    (
        record,
        findings.map(|f| (f.field.to_string(), f.reason)).collect(),
    )
}

#[test]
fn backends_resolve_or_are_unresolved() {
    let (record, findings) = made(
        json!({"backendRefs": [
        {"name": "web", "port": 80, "weight": 90}, {"name": "gone", "port": 80}, {"name": "web", "port": 81},
        {"name": "web"}, {"name": "web", "namespace": "other", "port": 80}, {"name": "b", "kind": "Bucket", "group": "x"}]}),
        &[],
    );
    let backends = &record.rules[0].backends;
    let reference = ServiceRef {
        service: "demo/web.demo.svc.cluster.local".into(),
        port: 80,
    };
    assert_eq!(
        (backends[0].target.as_ref(), backends[0].weight),
        (Some(&Target::Service(reference)), 90)
    );
    let unresolved =
        |b: &HttpBackend| matches!(b.target, Some(Target::Unresolved(_))) && b.weight == 1;
    assert!(backends[1..].iter().all(unresolved), "{backends:?}");
    let at = |i: usize, field: &str| format!("spec.rules[0].backendRefs[{i}].{field}");
    assert_eq!(
        findings,
        [
            (at(1, "name"), "BackendNotFound"),
            (at(2, "port"), "BackendNotFound"),
            (at(3, "port"), "BackendNotFound"),
            (at(4, "namespace"), "RefNotPermitted"),
            (at(5, "kind"), "InvalidKind")
        ]
    );
}

#[test]
fn matches_filters_timeouts_and_retries() {
    let (record, findings) = made(
        json!({
        "name": "one",
        "matches": [{"path": {"value": "/api"}, "method": "GET",
                     "headers": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}],
                     "queryParams": [{"type": "RegularExpression", "name": "q", "value": "a.*"}]}],
        "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}},
                    {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "web", "port": 80}, "fraction": {"numerator": 1, "denominator": 8}}},
                    {"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "Y", "name": "z"}}],
        "timeouts": {"request": "1500ms", "backendRequest": "0s"}, "retry": {"codes": [503], "backoff": "25ms"}}),
        &[],
    );
    let rule = &record.rules[0];
    let m = &rule.matches[0];
    assert_eq!(
        m.path.as_ref().unwrap().kind,
        Some(path_match::Kind::Prefix("/api".into()))
    );
    assert_eq!(
        (
            m.method.as_str(),
            m.headers.len(),
            m.headers[0].name.as_str()
        ),
        ("GET", 1, "x-a")
    );
    assert_eq!(
        m.query_params[0].kind,
        Some(value_match::Kind::Regex("a.*".into()))
    );
    let Some(http_filter::Kind::Rewrite(rewrite)) = &rule.filters[0].kind else {
        panic!()
    };
    assert_eq!(
        rewrite.path.as_ref().unwrap().kind,
        Some(path_change::Kind::Prefix("/v2".into()))
    );
    let Some(http_filter::Kind::Mirror(mirror)) = &rule.filters[1].kind else {
        panic!()
    };
    assert_eq!(mirror.per_ten_thousand, 1250);
    assert!(matches!(
        rule.filters[2].kind,
        Some(http_filter::Kind::Unresolved(_))
    ));
    assert_eq!(
        findings,
        [(
            "spec.rules[0].filters[2].type".to_owned(),
            "UnsupportedValue"
        )]
    );
    let timeout = rule.request_timeout.unwrap();
    assert_eq!((timeout.seconds, timeout.nanos), (1, 500_000_000));
    assert_eq!(
        rule.backend_request_timeout,
        Some(prost_types::Duration::default())
    );
    let retry = rule.retry.as_ref().unwrap();
    assert_eq!((retry.attempts, &retry.codes), (2, &vec![503]));
}

#[test]
fn a_parent_that_does_not_hold_is_left_out() {
    let parents = json!([{"group": "", "kind": "Service", "name": "web", "port": 80}, {"group": "", "kind": "Service", "name": "web", "port": 81},
        {"group": "", "kind": "Service", "name": "gone"}, {"group": "", "kind": "Service", "name": "web", "namespace": "other"},
        {"name": "some-gateway"}]);
    let objects = [
        service("demo", "web", "web", "10.96.0.1"),
        service("other", "web", "web", "10.96.0.2"),
        route("demo", "r", json!({"parentRefs": parents})),
    ];
    let world = world(&objects);
    let translated = of(
        &world,
        Kind::HttpRoute,
        world.cache.routes.iter().next().unwrap(),
    );
    let errors: Vec<_> = translated
        .findings
        .iter()
        .filter(|f| f.error)
        .map(|f| (f.field.to_string(), f.reason))
        .collect();
    assert_eq!(
        errors,
        [
            ("spec.parentRefs[1].port".to_owned(), "NoMatchingParent"),
            ("spec.parentRefs[2].name".to_owned(), "NoMatchingParent")
        ]
    );
    let Some(Message::HttpRoute(record)) = translated.resource.map(|r| r.message) else {
        panic!()
    };
    assert_eq!(record.parents.len(), 1);
    let consumed = ServiceRef {
        service: "other/web.other.svc.cluster.local".into(),
        port: 0,
    };
    assert_eq!(record.consumed, [consumed], "for clients of `demo`");
    let orphan = crate::testing::world(&[route(
        "demo",
        "r",
        json!({"parentRefs": [{"name": "some-gateway"}]}),
    )]);
    assert!(
        of(
            &orphan,
            Kind::HttpRoute,
            orphan.cache.routes.iter().next().unwrap()
        )
        .resource
        .is_none()
    );
}

#[test]
fn a_route_of_grpc_is_one_of_http_by_another_name() {
    let mut written = route(
        "demo",
        "r",
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": [{
            "matches": [{"method": {"service": "shop.Cart", "method": "Add"}, "headers": [{"name": "X-A", "value": "1"}]}],
            "backendRefs": [{"name": "web", "port": 80}]}]}),
    );
    written["kind"] = "GRPCRoute".into();
    let world = world(&[service("demo", "web", "web", "10.96.0.1"), written]);
    let object = world.cache.grpc_routes.iter().next().unwrap();
    let made = of(&world, Kind::GrpcRoute, object).resource.unwrap();
    assert_eq!(&*made.name, "GRPCRoute/demo/r");
    let Message::HttpRoute(record) = made.message else {
        panic!()
    };
    assert!(record.grpc);
    let found = &record.rules[0].matches[0];
    let path = found.path.as_ref().and_then(|path| path.kind.as_ref());
    assert_eq!(
        path,
        Some(&path_match::Kind::Exact("/shop.Cart/Add".into()))
    );
    assert_eq!(found.headers.len(), 1);
}

#[test]
fn sessions_of_either_kind_of_route_arrive() {
    let session = json!({"type": "Header", "sessionName": "x-session"});
    let rule = json!({"backendRefs": [{"name": "web", "port": 80}], "sessionPersistence": session});
    let (record, findings) = made(rule.clone(), &[]);
    assert!(findings.is_empty(), "{findings:?}");
    let session = record.rules[0].session_persistence.as_ref().unwrap();
    assert!(session.header && session.session_name == "x-session");
    let grpc: api::GrpcRouteSpec = serde_json::from_value(json!({"rules": [rule]})).unwrap();
    assert!(grpc.as_http().rules[0].session_persistence.is_some());
}

#[test]
fn what_other_origins_may_is_said_of_a_rule_and_not_of_a_backend() {
    let cors = json!({"type": "CORS", "cors": {"allowOrigins": ["https://*.bar.com"], "allowCredentials": true,
        "allowMethods": ["GET"], "allowHeaders": ["x-1"], "exposeHeaders": ["x-2"], "maxAge": 60}});
    let backend = json!({"name": "web", "port": 80, "filters": [cors]});
    let (record, findings) = made(json!({"filters": [cors], "backendRefs": [backend]}), &[]);
    let expected = culvert_proto::waypoint::Cors {
        allow_origins: vec!["https://*.bar.com".into()],
        allow_credentials: true,
        allow_methods: vec!["GET".into()],
        allow_headers: vec!["x-1".into()],
        expose_headers: vec!["x-2".into()],
        max_age: 60,
    };
    let rule = &record.rules[0];
    assert_eq!(
        rule.filters[0].kind,
        Some(http_filter::Kind::Cors(expected))
    );
    let of_backend = &rule.backends[0].filters[0].kind;
    assert!(
        matches!(of_backend, Some(http_filter::Kind::Unresolved(_))),
        "{of_backend:?}"
    );
    let field = "spec.rules[0].backendRefs[0].filters[0].type".to_owned();
    assert_eq!(findings, [(field, "UnsupportedValue")]);
}

#[test]
fn tries_that_time_out_are_tried_again_where_a_rule_retries() {
    let (record, _) = made(
        json!({"retry": {"codes": [503]}, "timeouts": {"backendRequest": "1s"}}),
        &[],
    );
    let retry = record.rules[0].retry.as_ref().unwrap();
    assert_eq!(
        retry.conditions,
        ["connect-failure", "reset", "per-try-timeout"]
    );
    assert_eq!((retry.attempts, &retry.codes[..]), (ATTEMPTS, &[503][..]));
}
