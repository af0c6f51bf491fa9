//! The filter `CORS`, by the rules that the Gateway API's own definition has.

use super::http_filter::header_name;
use super::http_route::METHODS;
use crate::api::Cors;
use crate::path::{FieldPath, Issues};

const ANY: &str = "*";
const MOST: usize = 64;
/// As the API has it.
const MOST_METHODS: usize = 9;
const MOST_SECONDS: u32 = i32::MAX as u32;

pub(super) fn check(cors: &Cors, at: &FieldPath, issues: &mut Issues) {
    let origins = (&cors.allow_origins, "allowOrigins");
    list(origins, MOST, at, issues, |raw| match raw {
        ANY => Ok(()),
        raw => origin(raw),
    });
    let methods = (&cors.allow_methods, "allowMethods");
    list(methods, MOST_METHODS, at, issues, |raw| {
        let known = raw == ANY || METHODS.contains(&raw);
        let message = || format!("{raw:?} is none of *, {}", METHODS.join(", "));
        known.then_some(()).ok_or_else(message)
    });
    let name = |raw: &str| match raw {
        ANY => Ok(()),
        raw => header_name(raw),
    };
    list(
        (&cors.allow_headers, "allowHeaders"),
        MOST,
        at,
        issues,
        name,
    );
    list(
        (&cors.expose_headers, "exposeHeaders"),
        MOST,
        at,
        issues,
        name,
    );
    for (all, field) in [origins, methods, (&cors.allow_headers, "allowHeaders")] {
        if all.len() > 1 && all.iter().any(|one| one == ANY) {
            issues.add(at.key(field), "has * beside others: write it alone");
        }
    }
    if cors
        .max_age
        .is_some_and(|age| age == 0 || age > MOST_SECONDS)
    {
        let message = format!("is not between 1 and {MOST_SECONDS}");
        issues.add(at.key("maxAge"), message);
    }
}

fn list(
    (all, field): (&Vec<String>, &str),
    most: usize,
    at: &FieldPath,
    issues: &mut Issues,
    good: impl Fn(&str) -> Result<(), String>,
) {
    let at = at.key(field);
    if all.len() > most {
        issues.add(at.clone(), format!("has more than {most} entries"));
    }
    for (i, one) in all.iter().enumerate() {
        issues.take(&at.index(i), good(one));
    }
}

/// `SCHEME://HOST[:PORT]`, where the host may be `*` or begin with `*.`.
fn origin(raw: &str) -> Result<(), String> {
    let wrong = || {
        format!(
            "{raw:?} is no origin: http:// or https://, a host (or *, or *.HOST), and a port if it is another than the scheme's"
        )
    };
    let rest = raw.strip_prefix("https://");
    let rest = rest.or_else(|| raw.strip_prefix("http://"));
    let rest = rest.filter(|_| raw.len() <= 253).ok_or_else(wrong)?;
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let port = port.is_none_or(|port| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    let good = port && (host == ANY || name.split('.').all(label));
    good.then_some(()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(cors: &Cors) -> Vec<String> {
        let mut issues = Issues::default();
        check(cors, &FieldPath::of("cors"), &mut issues);
        let found = issues.into_result(()).err().unwrap_or_default();
        let text = |issue: crate::path::Issue| format!("{}: {}", issue.field, issue.message);
        found.into_iter().map(text).collect()
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn origins_have_a_scheme_a_host_and_perhaps_a_port() {
        let good = [
            "https://www.foo.com",
            "https://*.bar.com",
            "http://*",
            "http://*:8080",
            "https://A-1.x:65535",
        ];
        let with = |origin: &str| Cors {
            allow_origins: texts(&[origin]),
            ..Cors::default()
        };
        for origin in good.into_iter().chain([ANY]) {
            assert_eq!(issues(&with(origin)), Vec::<String>::new(), "{origin}");
        }
        let bad = [
            "",
            "null",
            "www.foo.com",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a:+1",
            "https://*a",
            "https://a.*.b",
            "https://a..b",
            "https://a b",
            "https://*.",
        ];
        for origin in bad {
            let found = issues(&with(origin));
            let begins = format!("cors.allowOrigins[0]: {origin:?} is no origin");
            assert!(
                found.len() == 1 && found[0].starts_with(&begins),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_wildcard_stands_alone_and_names_are_names() {
        let cors = Cors {
            allow_origins: texts(&["*", "https://a"]),
            allow_methods: texts(&["get", "*"]),
            allow_headers: texts(&["x y", "*"]),
            expose_headers: texts(&["*", "x-3"]),
            max_age: Some(0),
            ..Cors::default()
        };
        assert_eq!(
            issues(&cors),
            [
                "cors.allowMethods[0]: \"get\" is none of *, GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
                "cors.allowHeaders[0]: \"x y\" is no name of a header",
                "cors.allowOrigins: has * beside others: write it alone",
                "cors.allowMethods: has * beside others: write it alone",
                "cors.allowHeaders: has * beside others: write it alone",
                "cors.maxAge: is not between 1 and 2147483647",
            ]
        );
        let many = Cors {
            expose_headers: vec!["x".into(); 65],
            ..Cors::default()
        };
        assert_eq!(
            issues(&many),
            ["cors.exposeHeaders: has more than 64 entries"]
        );
    }
}
