//! Precedence: examples of the Gateway API, and a reference that ranks all matches of all routes the slow way.

use std::cmp::Reverse;

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;
use crate::config::matcher::{HeaderMatch, Match, PathMatch, ValueMatch};
use crate::config::pattern::Pattern;
use crate::config::route::{Route, Rule};
use crate::routes::testing::get;

fn prefix(path: &str) -> Match {
    Match {
        path: Some(PathMatch::Prefix(path.trim_end_matches('/').into())),
        ..Match::default()
    }
}

fn exact(path: &str) -> Match {
    Match {
        path: Some(PathMatch::Exact(path.into())),
        ..Match::default()
    }
}

fn route(
    name: &str,
    created: &str,
    hostnames: Vec<Hostname>,
    rules: Vec<Vec<Match>>,
) -> Arc<Route> {
    let rules = rules
        .into_iter()
        .map(|matches| Rule {
            matches,
            ..Rule::default()
        })
        .map(Arc::new)
        .collect();
    Arc::new(Route {
        name: name.into(),
        created: created.into(),
        namespace: "n".into(),
        consumed: Vec::new(),
        parents: Vec::new(),
        listeners: Vec::new(),
        hostnames,
        rules,
    })
}

/// A table whose rules are called `ROUTE#INDEX`.
fn table(routes: &[Arc<Route>]) -> HostTable {
    let mut table = HostTable::default();
    for route in routes {
        for (index, rule) in route.rules.iter().enumerate() {
            let plan = RulePlan {
                route: Arc::clone(route),
                rule: Arc::clone(rule),
                index,
                backends_persist: false,
                settings: Box::default(),
                faults: Box::default(),
            };
            table.add(&Arc::new(plan), &route.hostnames);
        }
    }
    table.sort();
    table
}

fn name(found: Found<'_>) -> String {
    format!("{}#{}", found.rule.route(), found.rule.index)
}

fn found(table: &HostTable, host: &str, path: &str) -> Option<String> {
    table.find(host, &get(path)).map(name)
}

fn exactly(name: &str) -> Hostname {
    Hostname::Exact(name.into())
}

fn below(name: &str) -> Hostname {
    Hostname::Wildcard(format!(".{name}").into())
}

#[test]
fn the_most_specific_host_wins_over_everything() {
    let table = table(&[
        route("any", "2020", vec![], vec![vec![exact("/a")]]),
        route("org", "2021", vec![below("org")], vec![vec![exact("/a")]]),
        route(
            "example",
            "2022",
            vec![below("example.org")],
            vec![vec![prefix("/")]],
        ),
        route(
            "web",
            "2023",
            vec![exactly("web.example.org")],
            vec![vec![prefix("/a")]],
        ),
    ]);
    assert_eq!(found(&table, "web.example.org", "/a").unwrap(), "web#0");
    assert_eq!(
        found(&table, "web.example.org", "/b").unwrap(),
        "example#0",
        "what does not match falls through"
    );
    assert_eq!(found(&table, "a.b.example.org", "/a").unwrap(), "example#0");
    assert_eq!(
        found(&table, "example.org", "/a").unwrap(),
        "org#0",
        "a wildcard needs a label more"
    );
    assert_eq!(found(&table, "example.com", "/a").unwrap(), "any#0");
    assert_eq!(found(&table, "example.com", "/b"), None);
}

#[test]
fn age_then_name_then_order_break_ties() {
    let routes = [
        route(
            "ns/b",
            "2024-01-01T00:00:00Z",
            vec![],
            vec![vec![prefix("/x")], vec![prefix("/x")]],
        ),
        route(
            "ns/a",
            "2024-01-01T00:00:00Z",
            vec![],
            vec![vec![prefix("/y")], vec![prefix("/x")]],
        ),
        route(
            "ns/z",
            "2023-01-01T00:00:00Z",
            vec![],
            vec![vec![prefix("/z")]],
        ),
    ];
    assert_eq!(found(&table(&routes[..1]), "h", "/x").unwrap(), "ns/b#0");
    assert_eq!(found(&table(&routes[..2]), "h", "/x").unwrap(), "ns/a#1");
    let old = route(
        "ns/zz",
        "2022-01-01T00:00:00Z",
        vec![],
        vec![vec![prefix("/x")]],
    );
    let routes: Vec<_> = routes.into_iter().chain([old]).collect();
    assert_eq!(found(&table(&routes), "h", "/x").unwrap(), "ns/zz#0");
}

#[test]
fn the_matched_prefix_is_handed_on() {
    let table = table(&[route(
        "r",
        "",
        vec![],
        vec![vec![prefix("/a/b/"), prefix("/")]],
    )]);
    let headers = HeaderMap::new();
    let at = |path| {
        let head = Head {
            method: &Method::GET,
            path,
            query: None,
            headers: &headers,
        };
        table.find("h", &head).map(|found| found.prefix)
    };
    assert_eq!(at("/a/b/c"), Some("/a/b"));
    assert_eq!(at("/a"), Some(""));
}

fn any_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        Just(None),
        "(/[ab]){1,2}".prop_map(|path| Some(PathMatch::Exact(path.into()))),
        "(/[ab]){0,2}".prop_map(|path| Some(PathMatch::Prefix(path.into()))),
        "(/[ab.]){1,2}".prop_map(|path| Some(PathMatch::Regex(Pattern::new(&path).unwrap()))),
    ];
    let header = HeaderMatch {
        name: "x-a".parse().unwrap(),
        value: ValueMatch::Exact(b"1"[..].into()),
    };
    (path, any::<bool>(), 0usize..2).prop_map(move |(path, method, headers)| Match {
        path,
        method: method.then_some(Method::GET),
        headers: vec![header.clone(); headers],
        query: Vec::new(),
    })
}

fn any_route() -> impl Strategy<Value = Arc<Route>> {
    let host = prop_oneof![
        Just(exactly("a.b.c")),
        Just(exactly("b.c")),
        Just(below("b.c")),
        Just(below("c")),
    ];
    let rules = proptest::collection::vec(proptest::collection::vec(any_match(), 1..3), 1..3);
    (
        "[a-c]",
        "[0-2]",
        proptest::collection::vec(host, 0..3),
        rules,
    )
        .prop_map(|(name, created, hostnames, rules)| route(&name, &created, hostnames, rules))
}

/// Every matching entry with all that decides, best first: written without any index.
fn reference(routes: &[Arc<Route>], host: &str, head: &Head<'_>) -> Option<String> {
    let mut candidates = Vec::new();
    for route in routes {
        let hosts: Vec<(bool, usize)> = if route.hostnames.is_empty() {
            vec![(false, 0)]
        } else {
            let rank = |name: &Hostname| match name {
                Hostname::Exact(name) => (**name == *host).then_some((true, name.len())),
                Hostname::Wildcard(suffix) => (host.ends_with(&**suffix)
                    && host.len() > suffix.len())
                .then_some((false, suffix.len())),
                Hostname::Label(_) => unreachable!("of listeners alone"),
            };
            route.hostnames.iter().filter_map(rank).collect()
        };
        for (index, rule) in route.rules.iter().enumerate() {
            for condition in rule
                .matches
                .iter()
                .filter(|condition| condition.matches(head))
            {
                for host in &hosts {
                    let key = (
                        Reverse(*host),
                        Reverse(condition.specificity()),
                        &route.created,
                        &route.name,
                        index,
                    );
                    candidates.push((key, format!("{}#{index}", route.name)));
                }
            }
        }
    }
    candidates.sort();
    candidates.into_iter().next().map(|(_, name)| name)
}

proptest! {
    #[test]
    fn equals_the_reference(
        routes in proptest::collection::vec(any_route(), 0..6),
        host in prop_oneof![Just("a.b.c"), Just("b.c"), Just("x.b.c"), Just("c"), Just("d")],
        path in "(/[ab]){1,3}", post: bool, header: bool,
    ) {
        let method = if post { Method::POST } else { Method::GET };
        let mut headers = HeaderMap::new();
        if header {
            headers.insert("x-a", http::HeaderValue::from_static("1"));
        }
        let head = Head { method: &method, path: &path, query: None, headers: &headers };
        let found = table(&routes).find(host, &head).map(name);
        prop_assert_eq!(found, reference(&routes, host, &head));
    }
}
