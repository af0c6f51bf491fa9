//! Pages of other origins: what they are told before and with a request, and that nobody gets an answer by it who would get
//! none.

use anyhow::Result;
use culvert_proto::istio::security::Action;
use culvert_proto::{type_url, waypoint as pb};
use http::{Method, Request, Response};

use crate::backend::{Backend, Body, Speaks, response, text};
use crate::client::{Answer, Client, Http, get};
use crate::mesh::{Mesh, test};
use crate::resources::{authorization, fault, filter, prefix, route, rule};

const VIP: &str = "10.96.0.10:80";
const FOO: &str = "https://www.foo.com";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

/// As in the Gateway API's conformance tests.
fn strict() -> pb::Cors {
    pb::Cors {
        allow_origins: names(&[FOO, "https://*.bar.com"]),
        allow_credentials: true,
        allow_methods: names(&["GET", "OPTIONS"]),
        allow_headers: names(&["x-header-1", "x-header-2"]),
        expose_headers: names(&["x-header-3", "x-header-4"]),
        max_age: 3600,
    }
}

fn everything(credentials: bool) -> pb::Cors {
    pb::Cors {
        allow_origins: names(&["*"]),
        allow_credentials: credentials,
        allow_methods: names(&["*"]),
        allow_headers: names(&["*"]),
        expose_headers: names(&["*"]),
        max_age: 0,
    }
}

/// A rule for a path prefix that says this of other origins.
fn shared(path: &str, cors: pb::Cors) -> pb::HttpRule {
    pb::HttpRule {
        filters: vec![filter(pb::http_filter::Kind::Cors(cors))],
        ..rule(vec![prefix(path)], &[("web", 1)])
    }
}

/// A backend that has a mind of its own about other origins.
async fn opinionated(mesh: &Mesh) -> Result<Backend> {
    mesh.service("web", "10.96.0.10")?;
    Backend::start(mesh, "web-1", "web", 10, Speaks::Both, |_| async {
        let response: Response<Body> = Response::builder()
            .header("access-control-allow-origin", "https://backend.says")
            .header("access-control-allow-credentials", "true")
            .header("vary", "accept")
            .body(text("web-1"))?;
        Ok(response)
    })
    .await
}

async fn ask(
    http: &mut Http,
    path: &str,
    method: Method,
    headers: &[(&'static str, &str)],
) -> Result<Answer> {
    let mut request: Request<Body> = get(path);
    *request.method_mut() = method;
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse()?);
    }
    http.fetch(request).await
}

async fn preflight(http: &mut Http, path: &str, origin: &str, method: &str) -> Result<Answer> {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "x-header-1, x-header-2"),
    ];
    ask(http, path, Method::OPTIONS, &headers).await
}

/// All that is said of other origins, by name.
fn said(answer: &Answer) -> Vec<(&str, &str)> {
    let all = answer.headers.iter();
    let said = all.filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let mut said: Vec<_> = said
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    said.sort_unstable();
    said
}

#[test]
fn a_preflight_is_answered_here_by_what_the_rule_says() {
    test(
        "cors::a_preflight_is_answered_here_by_what_the_rule_says",
        |mesh| async move {
            let backend = opinionated(&mesh).await?;
            let rules = vec![shared("/strict", strict()), rule(vec![], &[("web", 1)])];
            mesh.put(type_url::HTTP_ROUTE, &route("cors", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let before = backend.requests.get();
                for origin in [FOO, "https://www.bar.com", "https://xpto.www.bar.com"] {
                    let answer = preflight(http, "/strict", origin, "GET").await?;
                    assert_eq!((answer.status.as_u16(), answer.text()), (204, ""));
                    let expected = [
                        ("access-control-allow-credentials", "true"),
                        ("access-control-allow-headers", "x-header-1, x-header-2"),
                        ("access-control-allow-methods", "GET, OPTIONS"),
                        ("access-control-allow-origin", origin),
                        ("access-control-expose-headers", "x-header-3, x-header-4"),
                        ("access-control-max-age", "3600"),
                    ];
                    assert_eq!(said(&answer), expected);
                    assert_eq!(answer.header("vary"), Some("origin"));
                }
                // The client is told what is allowed; that its own wish is not among it, it finds out itself.
                let answer = preflight(http, "/strict", FOO, "DELETE").await?;
                assert_eq!(
                    answer.header("access-control-allow-methods"),
                    Some("GET, OPTIONS")
                );
                for origin in [
                    "https://foobar.com",
                    "https://bar.com",
                    "http://www.foo.com",
                    "null",
                ] {
                    let answer = preflight(http, "/strict", origin, "GET").await?;
                    assert_eq!(
                        (answer.status.as_u16(), said(&answer)),
                        (204, vec![]),
                        "{origin}"
                    );
                }
                let twice = [
                    ("origin", FOO),
                    ("origin", FOO),
                    ("access-control-request-method", "GET"),
                ];
                let answer = ask(http, "/strict", Method::OPTIONS, &twice).await?;
                assert_eq!((answer.status.as_u16(), said(&answer)), (204, vec![]));
                assert_eq!(backend.requests.get(), before, "none came to the backend");
                // Without one of its headers it is a request like any other, and so it is where no rule has a say.
                let answer = ask(http, "/strict", Method::OPTIONS, &[("origin", FOO)]).await?;
                assert_eq!(answer.text(), "web-1");
                let answer = preflight(http, "/", FOO, "GET").await?;
                let own = answer.header("access-control-allow-origin");
                assert_eq!(
                    (answer.text(), own),
                    ("web-1", Some("https://backend.says"))
                );
                assert_eq!(backend.requests.get(), before + 2);
            }
            Ok(())
        },
    );
}

#[test]
fn wildcards_never_stand_in_an_answer_for_credentials() {
    test(
        "cors::wildcards_never_stand_in_an_answer_for_credentials",
        |mesh| async move {
            let _backend = opinionated(&mesh).await?;
            let rules = vec![
                shared("/with", everything(true)),
                shared("/without", everything(false)),
            ];
            mesh.put(type_url::HTTP_ROUTE, &route("cors", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let answer = preflight(http, "/with", FOO, "PUT").await?;
                let expected = [
                    ("access-control-allow-credentials", "true"),
                    ("access-control-allow-headers", "x-header-1, x-header-2"),
                    ("access-control-allow-methods", "PUT"),
                    ("access-control-allow-origin", FOO),
                    ("access-control-max-age", "5"),
                ];
                assert_eq!(said(&answer), expected);
                let bare = [("origin", FOO), ("access-control-request-method", "PUT")];
                let answer = ask(http, "/with", Method::OPTIONS, &bare).await?;
                assert_eq!(answer.header("access-control-allow-headers"), None);
                let answer = preflight(http, "/without", FOO, "PUT").await?;
                let expected = [
                    ("access-control-allow-headers", "*"),
                    ("access-control-allow-methods", "*"),
                    ("access-control-allow-origin", "*"),
                    ("access-control-expose-headers", "*"),
                    ("access-control-max-age", "5"),
                ];
                assert_eq!(said(&answer), expected);
                assert_eq!(answer.header("vary"), None, "it is the same for all");
            }
            Ok(())
        },
    );
}

#[test]
fn answers_say_what_the_rule_says_and_nothing_of_the_backends() {
    test(
        "cors::answers_say_what_the_rule_says_and_nothing_of_the_backends",
        |mesh| async move {
            let _backend = opinionated(&mesh).await?;
            let redirect = pb::http_filter::Kind::Redirect(pb::Redirect {
                hostname: "elsewhere".into(),
                ..Default::default()
            });
            let mut moved = shared("/moved", strict());
            moved.filters.push(filter(redirect));
            let mut broken = shared("/broken", strict());
            broken.backends[0].target = Some(pb::http_backend::Target::Unresolved("gone".into()));
            let mut unclear = shared("/unclear", strict());
            let unknown = pb::http_filter::Kind::Unresolved("unknown filter".into());
            unclear.filters.push(filter(unknown));
            let rules = vec![shared("/strict", strict()), moved, broken, unclear];
            mesh.put(type_url::HTTP_ROUTE, &route("cors", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let told = [
                    ("access-control-allow-credentials", "true"),
                    ("access-control-allow-origin", FOO),
                    ("access-control-expose-headers", "x-header-3, x-header-4"),
                ];
                // Also where the answer is one of our own: a page may learn that something went wrong.
                for (path, status) in [("/strict", 200), ("/moved", 302), ("/broken", 500)] {
                    let answer = ask(http, path, Method::GET, &[("origin", FOO)]).await?;
                    assert_eq!(
                        (answer.status.as_u16(), said(&answer)),
                        (status, told.into()),
                        "{path}"
                    );
                }
                for headers in [&[("origin", "https://foobar.com")][..], &[]] {
                    let answer = ask(http, "/strict", Method::GET, headers).await?;
                    assert_eq!((answer.status.as_u16(), said(&answer)), (200, vec![]));
                    let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
                    assert_eq!(vary, ["accept", "origin"], "for caches");
                }
                // A rule that can't be served whole answers nothing but that.
                let answer = preflight(http, "/unclear", FOO, "GET").await?;
                assert_eq!((answer.status.as_u16(), said(&answer)), (500, vec![]));
            }
            Ok(())
        },
    );
}

#[test]
fn a_preflight_meets_authorization_first_and_no_faults() {
    test(
        "cors::a_preflight_meets_authorization_first_and_no_faults",
        |mesh| async move {
            let backend = opinionated(&mesh).await?;
            let rules = vec![shared("/", strict())];
            mesh.put(type_url::HTTP_ROUTE, &route("cors", "web", rules))?;
            let only_curl = authorization("only-curl", Action::Allow, "curl", Some("web"));
            mesh.put(type_url::AUTHORIZATION, &only_curl)?;
            let abort = pb::FaultPolicy {
                abort: Some(pb::FaultAbort {
                    http_status: 418,
                    per_ten_thousand: 10_000,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let (curl, wget) = (
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "wget").await?,
            );
            for denied in [&mut wget.http1(VIP).await?, &mut wget.http2(VIP).await?] {
                for answer in [
                    preflight(denied, "/", FOO, "GET").await?,
                    ask(denied, "/", Method::GET, &[("origin", FOO)]).await?,
                ] {
                    let reason = answer.header("culvert-deny-reason");
                    assert_eq!(
                        (answer.status.as_u16(), reason),
                        (403, Some("policy_not_allowed"))
                    );
                    assert_eq!(said(&answer), []);
                }
            }
            assert_eq!(backend.requests.get(), 0);
            mesh.put(type_url::FAULT_POLICY, &fault("abort", "web", abort))?;
            let mut http = curl.http1(VIP).await?;
            assert_eq!(
                preflight(&mut http, "/", FOO, "GET").await?.status.as_u16(),
                204
            );
            let answer = ask(&mut http, "/", Method::GET, &[("origin", FOO)]).await?;
            let origin = answer.header("access-control-allow-origin");
            assert_eq!((answer.status.as_u16(), origin), (418, Some(FOO)));
            Ok(())
        },
    );
}

#[test]
fn a_backend_without_a_word_of_its_own_is_not_asked_for_one() {
    test(
        "cors::a_backend_without_a_word_of_its_own_is_not_asked_for_one",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let _plain = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, |_| async {
                response(503, "down")
            })
            .await?;
            let rules = vec![shared("/", everything(false))];
            mesh.put(type_url::HTTP_ROUTE, &route("cors", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            let raw = "OPTIONS /x HTTP/1.1\r\nHost: web.demo\r\nOrigin: http://[::1]:81\r\n\
                       Access-Control-Request-Method: PATCH\r\nConnection: close\r\n\r\n";
            let answer = client.raw(VIP, raw.as_bytes()).await?;
            assert!(
                answer.starts_with("HTTP/1.1 204 No Content\r\n"),
                "{answer}"
            );
            assert!(
                answer.contains("access-control-allow-origin: *\r\n"),
                "{answer}"
            );
            assert!(!answer.contains("content-length"), "{answer}");
            Ok(())
        },
    );
}
