//! What the store keeps when resources are wrong, and when they go.

use super::*;
use crate::routes::testing::get;

fn route(path: pb::path_match::Kind) -> Vec<u8> {
    let matches = vec![pb::HttpMatch {
        path: Some(pb::PathMatch { kind: Some(path) }),
        ..Default::default()
    }];
    pb::HttpRoute {
        namespace: "n".into(),
        name: "r".into(),
        parents: vec![pb::ServiceRef {
            service: "d/web".into(),
            port: 0,
        }],
        rules: vec![pb::HttpRule {
            matches,
            ..Default::default()
        }],
        ..Default::default()
    }
    .encode_to_vec()
}

fn unresolved(store: &RouteStore, path: &str) -> Option<Option<String>> {
    let routes = store.shared().load_full();
    let table = routes.port("d/web", 80)?.table("d")?;
    table
        .find("web", &get(path))
        .map(|found| found.rule.filters().unresolved.clone())
}

#[test]
fn the_last_good_route_keeps_serving() {
    use pb::path_match::Kind::{Exact, Regex};
    let mut store = RouteStore::default();
    store
        .set(type_url::HTTP_ROUTE, "r", &route(Exact("/a".into())))
        .unwrap();
    let error = store
        .set(type_url::HTTP_ROUTE, "r", &route(Regex("(".into())))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("rules[0].matches[0].path.regex: "),
        "{error}"
    );
    store.publish();
    assert_eq!(unresolved(&store, "/a"), Some(None));
    store.remove(type_url::HTTP_ROUTE, "r");
    store.publish();
    assert_eq!(unresolved(&store, "/a"), None);
}

#[test]
fn a_route_that_never_was_good_answers_500() {
    let mut store = RouteStore::default();
    store
        .set(
            type_url::HTTP_ROUTE,
            "r",
            &route(pb::path_match::Kind::Regex("(".into())),
        )
        .unwrap_err();
    store.publish();
    assert!(unresolved(&store, "/anything").unwrap().is_some());
}

#[test]
fn nothing_changes_before_it_is_published() {
    let mut store = RouteStore::default();
    store
        .set(
            type_url::HTTP_ROUTE,
            "r",
            &route(pb::path_match::Kind::Exact("/a".into())),
        )
        .unwrap();
    assert_eq!(unresolved(&store, "/a"), None);
    store.publish();
    assert_eq!(unresolved(&store, "/a"), Some(None));
}

#[test]
fn garbage_and_strangers_are_rejected() {
    let mut store = RouteStore::default();
    assert!(matches!(
        store.set(type_url::FAULT_POLICY, "f", b"\xff"),
        Err(ResourceError::Malformed(_))
    ));
    assert!(matches!(
        store.set(type_url::ADDRESS, "a", b""),
        Err(ResourceError::UnknownType(_))
    ));
    assert!(!RouteStore::takes(type_url::ADDRESS) && RouteStore::takes(type_url::HTTP_ROUTE));
}
