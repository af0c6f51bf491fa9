//! Header changes, redirects and rewrites, by the tables of the Gateway API.

use proptest::prelude::*;

use super::*;

fn prefix(raw: &str) -> PathChange {
    let raw = pb::PathChange {
        kind: Some(pb::path_change::Kind::Prefix(raw.into())),
    };
    PathChange::decode(Some(&raw)).unwrap().unwrap()
}

fn header(name: &str, value: &str) -> pb::Header {
    pb::Header {
        name: name.into(),
        value: value.into(),
    }
}

#[test]
fn prefix_replacement_follows_the_table() {
    for (path, matched, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
        ("/", "", "/xyz", "/xyz/"),
    ] {
        assert_eq!(
            prefix(replacement).apply(path, matched),
            expected,
            "{path}: {matched} by {replacement}"
        );
    }
    assert_eq!(PathChange::Full("/x".into()).apply("/a/b", "/a"), "/x");
}

#[test]
fn header_changes_remove_set_add() {
    let change = HeaderChange::decode(&pb::HeaderChange {
        set: vec![header("X-Set", "new")],
        add: vec![header("x-add", "two")],
        remove: vec!["X-Gone".into()],
    })
    .unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-set", "a"),
        ("x-set", "b"),
        ("x-add", "one"),
        ("x-gone", "c"),
        ("x-kept", "d"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    change.apply(&mut headers);
    let all = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(all("x-set"), ["new"]);
    assert_eq!(all("x-add"), ["one", "two"]);
    assert_eq!(all("x-gone"), [""; 0]);
    assert_eq!(all("x-kept"), ["d"]);
}

#[test]
fn framing_headers_are_out_of_reach() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "upgrade",
        "te",
        "keep-alive",
        "trailer",
    ] {
        let change = pb::HeaderChange {
            set: vec![header(name, "1")],
            ..Default::default()
        };
        assert!(HeaderChange::decode(&change).is_err(), "{name}");
    }
    let injected = pb::HeaderChange {
        set: vec![header("x", "a\r\nb: c")],
        ..Default::default()
    };
    assert!(HeaderChange::decode(&injected).is_err());
}

#[test]
fn locations_derive_port_and_scheme() {
    let redirect = |scheme: &str, hostname: &str, port| {
        let raw = pb::Redirect {
            scheme: scheme.into(),
            hostname: hostname.into(),
            port,
            ..Default::default()
        };
        Redirect::decode(&raw)
            .unwrap()
            .location("http", "web.demo", 8080, "/a/b", Some("q=1"), "")
    };
    assert_eq!(redirect("", "", 0), "http://web.demo:8080/a/b?q=1");
    assert_eq!(redirect("https", "", 0), "https://web.demo/a/b?q=1");
    assert_eq!(
        redirect("http", "example.org", 0),
        "http://example.org/a/b?q=1"
    );
    assert_eq!(
        redirect("https", "example.org", 8443),
        "https://example.org:8443/a/b?q=1"
    );
    assert_eq!(redirect("", "", 80), "http://web.demo/a/b?q=1");
    let kept = Redirect::decode(&pb::Redirect::default()).unwrap();
    for (scheme, port, expected) in [
        ("https", 443, "https://web.demo/"),
        ("https", 8443, "https://web.demo:8443/"),
        ("https", 80, "https://web.demo:80/"),
        ("http", 443, "http://web.demo:443/"),
    ] {
        let location = kept.location(scheme, "web.demo", port, "/", None, "");
        assert_eq!(location, expected, "the scheme of the request stays");
    }
    assert_eq!(redirect("https", "", 443), "https://web.demo/a/b?q=1");
}

#[test]
fn redirects_refuse_other_statuses_and_schemes() {
    for raw in [
        pb::Redirect {
            status: 299,
            ..Default::default()
        },
        pb::Redirect {
            scheme: "ftp".into(),
            ..Default::default()
        },
        pb::Redirect {
            port: 70_000,
            ..Default::default()
        },
        pb::Redirect {
            hostname: "a b".into(),
            ..Default::default()
        },
    ] {
        assert!(Redirect::decode(&raw).is_err(), "{raw:?}");
    }
    for status in [0, 301, 302, 303, 307, 308] {
        let redirect = Redirect::decode(&pb::Redirect {
            status,
            ..Default::default()
        })
        .unwrap();
        assert_eq!(
            u32::from(redirect.status.as_u16()),
            if status == 0 { 302 } else { status }
        );
    }
}

proptest! {
    #[test]
    fn a_rewritten_path_is_absolute_and_keeps_the_rest(
        matched in "(/[a-c]{1,3}){0,3}", rest in "(/[a-c]{0,3}){0,3}", by in "(/[x-z]{1,3}){0,3}",
    ) {
        let path = if matched.is_empty() && rest.is_empty() { "/".to_owned() } else { format!("{matched}{rest}") };
        let rest = path.strip_prefix(matched.as_str()).unwrap();
        let rewritten = prefix(&by).apply(&path, &matched);
        prop_assert!(rewritten.starts_with('/'));
        prop_assert!(rewritten.ends_with(rest));
        let expected = format!("{by}{rest}");
        prop_assert_eq!(rewritten.trim_end_matches('/'), expected.trim_end_matches('/'));
    }
}
