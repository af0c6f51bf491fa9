//! Which origins are allowed, and what is no configuration.

use super::*;

fn cors(origins: &[&str], change: impl FnOnce(&mut pb::Cors)) -> Result<Cors, String> {
    let mut raw = pb::Cors {
        allow_origins: origins.iter().map(|origin| (*origin).into()).collect(),
        ..Default::default()
    };
    change(&mut raw);
    Cors::decode(&raw).map_err(|error| error.to_string())
}

fn allowed(origins: &[&str], origin: &'static str) -> bool {
    let cors = cors(origins, |_| ()).unwrap();
    cors.allows(&HeaderValue::from_static(origin))
}

#[test]
fn an_origin_is_its_scheme_host_and_port() {
    let one = &["https://www.foo.com", "http://plain.foo.com:8080"];
    for (origin, expected) in [
        ("https://www.foo.com", true),
        ("https://WWW.foo.com", true),
        ("https://www.foo.com:443", true),
        ("http://plain.foo.com:8080", true),
        ("http://www.foo.com", false),
        ("https://www.foo.com:8443", false),
        ("https://www.foo.com:80", false),
        ("http://plain.foo.com", false),
        ("https://foo.com", false),
        ("https://www.foo.com.evil", false),
        ("https://evil-www.foo.com", false),
        ("https://www.foo.com/", false),
        ("https://www.foo.com:", false),
        ("https://www.foo.com:+443", false),
        ("https://www.foo.com:0", false),
        ("https://user@www.foo.com", false),
        ("https://www.foo.com https://www.foo.com", false),
        ("https://www.foo.com,https://evil", false),
        ("www.foo.com", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(allowed(one, origin), expected, "{origin}");
    }
}

#[test]
fn a_wildcard_stands_for_labels_to_its_left() {
    for (origin, expected) in [
        ("https://www.bar.com", true),
        ("https://xpto.www.bar.com", true),
        ("https://bar.com", false),
        ("https://.bar.com", false),
        ("https://evilbar.com", false),
        ("https://www.bar.com.evil", false),
        ("http://www.bar.com", false),
        ("https://www.bar.com:8443", false),
    ] {
        assert_eq!(
            allowed(&["https://*.bar.com"], origin),
            expected,
            "{origin}"
        );
    }
    let any_host = &["http://*"];
    assert!(allowed(any_host, "http://a") && allowed(any_host, "http://[::1]"));
    assert!(!allowed(any_host, "https://a") && !allowed(any_host, "http://[::1]:81"));
    assert!(allowed(&["http://*:81"], "http://[::1]:81"));
    assert!(allowed(&["*"], "null") && allowed(&["*"], "https://foobar.com:12345"));
    assert!(!allowed(&[], "https://www.bar.com"), "none is allowed");
}

#[test]
fn what_is_told_is_made_once() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let all = cors(&["*"], |raw| {
        raw.allow_methods = names(&["*"]);
        raw.allow_headers = names(&["x-1", "X-2"]);
        raw.expose_headers = names(&["*", "x-3"]);
    })
    .unwrap();
    assert!(all.is_same_for_all());
    assert_eq!(all.methods, Some(Allowed::Any));
    let listed = HeaderValue::from_static("x-1, X-2");
    assert_eq!(all.headers, Some(Allowed::Listed(listed)));
    assert_eq!(all.expose.unwrap(), "*, x-3");
    assert_eq!(all.max_age, "5");
    let with_credentials = cors(&["*"], |raw| {
        raw.allow_credentials = true;
        raw.expose_headers = names(&["*"]);
        raw.max_age = 3600;
    })
    .unwrap();
    assert!(!with_credentials.is_same_for_all());
    assert_eq!(
        with_credentials.expose, None,
        "no wildcard with credentials"
    );
    assert_eq!(with_credentials.max_age, "3600");
    assert!(with_credentials.methods.is_none() && with_credentials.headers.is_none());
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for origin in [
        "ftp://a",
        "a",
        "https://",
        "https://a:0",
        "https://a:65536",
        "https://a/b",
        "https://a*.b",
        "https://*a.b",
        "https://a..b",
        "https://a b",
        "null",
    ] {
        let error = cors(&[origin], |_| ()).unwrap_err();
        let expected = format!("allow_origins[0].origin: `{origin}` is not an origin");
        assert_eq!(error, expected);
    }
    let wrong = |change: fn(&mut pb::Cors)| cors(&["*"], change).unwrap_err();
    assert_eq!(
        wrong(|raw| raw.allow_methods = vec!["GET".into(), "A B".into()]),
        "allow_methods: `A B` is not a name"
    );
    assert_eq!(
        wrong(|raw| raw.expose_headers = vec!["a,b".into()]),
        "expose_headers: `a,b` is not a name"
    );
}
