//! Matching of paths, headers and query parameters, example by example and against a reference.

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;

fn prefix(prefix: &str) -> PathMatch {
    let kind = Some(pb::path_match::Kind::Prefix(prefix.into()));
    PathMatch::decode(&pb::PathMatch { kind }).unwrap().unwrap()
}

fn value(name: &str, exact: &str) -> pb::ValueMatch {
    pb::ValueMatch {
        name: name.into(),
        kind: Some(pb::value_match::Kind::Exact(exact.into())),
    }
}

fn query(name: &str, exact: &str) -> QueryMatch {
    QueryMatch::decode(&value(name, exact)).unwrap()
}

#[test]
fn prefixes_match_whole_elements() {
    for (pattern, path, expected) in [
        ("/abc", "/abc", true),
        ("/abc", "/abc/", true),
        ("/abc", "/abc/def", true),
        ("/abc", "/abcd", false),
        ("/abc/", "/abc", true),
        ("/abc/", "/abc/def", true),
        ("/", "/anything", true),
        ("/", "/", true),
        ("/abc", "//abc", false),
        ("/abc", "/ABC", false),
        ("/abc", "/%61bc", false),
    ] {
        assert_eq!(
            prefix(pattern).matches(path),
            expected,
            "{pattern} against {path}"
        );
    }
}

#[test]
fn header_values_are_matched_one_by_one() {
    let header = HeaderMatch::decode(&value("X-Env", "canary")).unwrap();
    let mut headers = HeaderMap::new();
    assert!(!header.matches(&headers));
    headers.append("x-env", HeaderValue::from_static("stable"));
    assert!(!header.matches(&headers));
    headers.append("x-env", HeaderValue::from_static("canary"));
    assert!(header.matches(&headers));
    let joined = HeaderMap::from_iter([(
        header.name.clone(),
        HeaderValue::from_static("stable, canary"),
    )]);
    assert!(!header.matches(&joined), "a joined value is one value");
}

#[test]
fn query_parameters_match_their_first_occurrence_decoded() {
    let animal = query("animal", "a whale");
    assert!(animal.matches(Some("x=1&animal=a+whale")));
    assert!(animal.matches(Some("anim%61l=a%20whale")));
    assert!(!animal.matches(Some("animal=dog&animal=a+whale")));
    assert!(!animal.matches(Some("animals=a+whale")));
    assert!(!animal.matches(None));
    assert!(query("flag", "").matches(Some("flag")));
    assert!(query("odd", "100%").matches(Some("odd=100%")));
}

#[test]
fn wrong_values_are_named() {
    let wrong = pb::HttpMatch {
        headers: vec![value("ok", "1"), value("no good", "1")],
        ..Default::default()
    };
    assert_eq!(
        Match::decode(&wrong).unwrap_err().to_string(),
        "headers[1].name: `no good` is not a header name"
    );
    let relative = pb::PathMatch {
        kind: Some(pb::path_match::Kind::Exact("a".into())),
    };
    let wrong = pb::HttpMatch {
        path: Some(relative),
        ..Default::default()
    };
    assert_eq!(
        Match::decode(&wrong).unwrap_err().to_string(),
        "path.exact: `a` does not start with `/`"
    );
}

#[test]
fn specificity_follows_the_gateway_api() {
    let path = |kind| Match {
        path: Some(kind),
        ..Match::default()
    };
    let exact = path(PathMatch::Exact("/a".into()));
    let long = path(prefix("/aaaa"));
    let short = Match {
        method: Some(Method::GET),
        ..path(prefix("/a"))
    };
    let method = Match {
        method: Some(Method::GET),
        ..Match::default()
    };
    let header = HeaderMatch::decode(&value("a", "b")).unwrap();
    let headers = Match {
        headers: vec![header.clone(), header],
        ..Match::default()
    };
    let with_query = Match {
        query: vec![query("a", "b"); 3],
        ..Match::default()
    };
    let regex = path(PathMatch::Regex(Pattern::new(".*").unwrap()));
    let order = [
        &exact,
        &long,
        &short,
        &regex,
        &method,
        &headers,
        &with_query,
        &path(prefix("/")),
    ];
    for pair in order.windows(2) {
        assert!(
            pair[0].specificity() > pair[1].specificity(),
            "{:?} over {:?}",
            pair[0],
            pair[1]
        );
    }
}

/// The element-wise reading of a prefix, written the slow way.
fn reference(pattern: &str, path: &str) -> bool {
    let pattern: Vec<_> = pattern.trim_end_matches('/').split('/').collect();
    let path: Vec<_> = path.split('/').collect();
    path.starts_with(&pattern)
}

proptest! {
    #[test]
    fn prefix_equals_reference(pattern in "(/[ab]{0,2}){1,4}", path in "(/[ab]{0,2}){1,5}") {
        prop_assert_eq!(prefix(&pattern).matches(&path), reference(&pattern, &path));
    }

    #[test]
    fn form_decoding_never_panics_and_keeps_plain_text(raw in "[ -~]{0,20}") {
        let decoded = form_decoded(&raw);
        if !raw.contains(['%', '+']) {
            prop_assert_eq!(&*decoded, raw.as_bytes());
        }
        prop_assert!(decoded.len() <= raw.len());
    }
}
