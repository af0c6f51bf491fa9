//! Sessions of the Gateway API: they stay at their endpoint, through changes of everything else, as long as it is there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use culvert_proto::{type_url, waypoint as pb};

use crate::backend::Backend;
use crate::client::{Answer, Client, Http, get};
use crate::mesh::{Mesh, test};
use crate::resources::{millis, prefix, route, rule, traffic};

const VIP: &str = "10.96.0.10:80";

fn sticky(session: pb::SessionPersistence, backends: &[(&str, u32)]) -> (String, pb::HttpRoute) {
    let rule = pb::HttpRule {
        session_persistence: Some(session),
        ..rule(vec![prefix("/")], backends)
    };
    route("sticky", "web", vec![rule])
}

fn named(name: &str) -> pb::SessionPersistence {
    pb::SessionPersistence {
        session_name: name.into(),
        ..Default::default()
    }
}

async fn three(mesh: &Mesh) -> Result<Vec<Backend>> {
    mesh.service("web", "10.96.0.10")?;
    let mut all = Vec::new();
    for (name, last) in [("web-1", 10), ("web-2", 11), ("web-3", 12)] {
        all.push(Backend::named(mesh, name, "web", last).await?);
    }
    Ok(all)
}

async fn with(http: &mut Http, name: &'static str, value: &str) -> Result<Answer> {
    let mut request = get("/");
    request.headers_mut().insert(name, value.parse()?);
    http.fetch(request).await
}

/// The cookie that an answer sets, as a client sends it.
fn cookie(answer: &Answer) -> Result<String> {
    let set = answer.header("set-cookie").context("no cookie")?;
    Ok(set.split(';').next().unwrap_or_default().to_owned())
}

#[test]
fn a_session_stays_until_its_endpoint_goes() {
    test(
        "sessions::a_session_stays_until_its_endpoint_goes",
        |mesh| async move {
            let backends = three(&mesh).await?;
            mesh.put(type_url::HTTP_ROUTE, &sticky(named("s"), &[("web", 1)]))?;
            let clients = [
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "curl").await?,
            ];
            let mut connections = [clients[0].http1(VIP).await?, clients[1].http2(VIP).await?];
            let first = connections[0].get("/").await?;
            assert_eq!(
                first
                    .header("set-cookie")
                    .map(|set| set.ends_with("; Path=/; HttpOnly")),
                Some(true)
            );
            let session = cookie(&first)?;
            assert!(
                !session.contains("10.99") && !session.contains("web-"),
                "{session}"
            );
            for n in 0..40 {
                let answer = with(&mut connections[n % 2], "cookie", &session).await?;
                assert_eq!(
                    (answer.text(), answer.header("set-cookie")),
                    (first.text(), None)
                );
            }
            // Another configuration, another endpoint: the session stays.
            let mut other = sticky(named("s"), &[("web", 3)]);
            other.1.rules[0].request_timeout = millis(30_000);
            mesh.put(type_url::HTTP_ROUTE, &other)?;
            let _more = Backend::named(&mesh, "web-4", "web", 13).await?;
            for _ in 0..20 {
                let answer = with(&mut connections[0], "cookie", &session).await?;
                assert_eq!(answer.text(), first.text());
            }
            // Its endpoint goes: another one, which the client is told.
            let home = backends
                .iter()
                .find(|backend| backend.pod.name == first.text());
            mesh.remove(
                type_url::ADDRESS,
                &home.context("no such backend")?.pod.uid(),
            );
            let moved = with(&mut connections[0], "cookie", &session).await?;
            assert_ne!(moved.text(), first.text());
            let session = cookie(&moved)?;
            for n in 0..20 {
                let answer = with(&mut connections[n % 2], "cookie", &session).await?;
                assert_eq!(answer.text(), moved.text());
            }
            Ok(())
        },
    );
}

#[test]
fn clients_are_spread_and_made_up_tokens_are_nobodys() {
    test(
        "sessions::clients_are_spread_and_made_up_tokens_are_nobodys",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            mesh.service("api", "10.96.0.11")?;
            let api = Backend::named(&mesh, "api", "api", 20).await?;
            mesh.put(type_url::HTTP_ROUTE, &sticky(named("s"), &[("web", 1)]))?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            let mut homes = BTreeSet::new();
            let mut last = String::new();
            for _ in 0..30 {
                let answer = http.get("/").await?;
                last = cookie(&answer)?;
                homes.insert(answer.text().to_owned());
            }
            assert_eq!(homes.len(), 3);
            let flipped = format!("{}0000000000000000{}", &last[..11], &last[27..]);
            for made_up in [
                "s=",
                "s=1",
                "s=\u{7f}",
                &last[..20],
                &flipped,
                "s=../../api",
            ] {
                let Ok(answer) = with(&mut http, "cookie", made_up).await else {
                    continue;
                };
                assert_eq!(answer.status, 200, "{made_up}");
                assert!(
                    answer.header("set-cookie").is_some(),
                    "{made_up} is no session"
                );
            }
            // A session of another rule's backend leads nobody there.
            let theirs = route("api", "api", sticky(named("s"), &[("api", 1)]).1.rules);
            mesh.put(type_url::HTTP_ROUTE, &theirs)?;
            let stolen = cookie(&client.http1("10.96.0.11:80").await?.get("/").await?)?;
            for _ in 0..10 {
                assert_ne!(with(&mut http, "cookie", &stolen).await?.text(), "api");
            }
            assert_eq!(api.requests.get(), 1);
            Ok(())
        },
    );
}

#[test]
fn a_header_does_as_well_and_sessions_choose_the_backend() {
    test(
        "sessions::a_header_does_as_well_and_sessions_choose_the_backend",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            for (name, last) in [("one", 10), ("two", 11)] {
                mesh.service(name, &format!("10.96.0.{}", last + 10))?;
            }
            let _one = Backend::named(&mesh, "one-1", "one", 10).await?;
            let _two = Backend::named(&mesh, "two-1", "two", 11).await?;
            let session = pb::SessionPersistence {
                header: true,
                ..named("x-session")
            };
            let weighted = |one, two| sticky(session.clone(), &[("one", one), ("two", two)]);
            mesh.put(type_url::HTTP_ROUTE, &weighted(1, 1))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let first = http.get("/").await?;
            let token = first.header("x-session").context("no session")?.to_owned();
            for _ in 0..30 {
                let answer = with(&mut http, "x-session", &token).await?;
                assert_eq!(
                    (answer.text(), answer.header("x-session")),
                    (first.text(), None)
                );
            }
            // A backend that gets nothing any more gets no sessions either.
            let (one, two) = if first.text() == "one-1" {
                (0, 1)
            } else {
                (1, 0)
            };
            mesh.put(type_url::HTTP_ROUTE, &weighted(one, two))?;
            let answer = with(&mut http, "x-session", &token).await?;
            assert_ne!(answer.text(), first.text());
            assert!(answer.header("x-session").is_some());
            Ok(())
        },
    );
}

fn policy(
    name: &str,
    service: &str,
    session: pb::SessionPersistence,
) -> (String, pb::TrafficPolicy) {
    let policy = pb::TrafficPolicy {
        backend: true,
        session_persistence: Some(session),
        ..Default::default()
    };
    let (_, policy) = traffic(name, service, policy);
    (format!("XBackendTrafficPolicy/demo/{name}"), policy)
}

#[test]
fn a_backends_policy_keeps_sessions_where_no_rule_does() {
    test(
        "sessions::a_backends_policy_keeps_sessions_where_no_rule_does",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            mesh.put(
                type_url::TRAFFIC_POLICY,
                &policy("p", "web", pb::SessionPersistence::default()),
            )?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            // Without any route.
            let first = http.get("/").await?;
            let session = cookie(&first)?;
            for http in [&mut http, &mut client.http2(VIP).await?] {
                for _ in 0..20 {
                    let answer = with(http, "cookie", &session).await?;
                    assert_eq!(
                        (answer.text(), answer.header("set-cookie")),
                        (first.text(), None)
                    );
                }
            }
            // With a route that says nothing of sessions, it is the same session.
            mesh.put(
                type_url::HTTP_ROUTE,
                &route("r", "web", vec![rule(vec![], &[("web", 1)])]),
            )?;
            for _ in 0..20 {
                assert_eq!(
                    with(&mut http, "cookie", &session).await?.text(),
                    first.text()
                );
            }
            // With one that has its own, the policy's does not count.
            mesh.put(type_url::HTTP_ROUTE, &sticky(named("own"), &[("web", 1)]))?;
            mesh.remove(type_url::HTTP_ROUTE, "HTTPRoute/demo/r");
            let answer = with(&mut http, "cookie", &session).await?;
            assert!(cookie(&answer)?.starts_with("own="));
            Ok(())
        },
    );
}

#[test]
fn a_session_of_a_backend_goes_before_weights() {
    test(
        "sessions::a_session_of_a_backend_goes_before_weights",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            mesh.service("one", "10.96.0.11")?;
            mesh.service("two", "10.96.0.12")?;
            let mut all = Vec::new();
            for (name, service, last) in [
                ("one-1", "one", 10),
                ("one-2", "one", 11),
                ("two-1", "two", 12),
            ] {
                all.push(Backend::named(&mesh, name, service, last).await?);
            }
            mesh.put(type_url::TRAFFIC_POLICY, &policy("p", "one", named("s")))?;
            // Of the service that is addressed it is not: it has no endpoints of its own here.
            mesh.put(type_url::TRAFFIC_POLICY, &policy("q", "web", named("q")))?;
            let split = rule(vec![], &[("one", 1), ("two", 1)]);
            mesh.put(type_url::HTTP_ROUTE, &route("r", "web", vec![split]))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut session = None;
            for _ in 0..200 {
                let answer = http.get("/").await?;
                let at_one = answer.text().starts_with("one-");
                assert_eq!(
                    answer.header("set-cookie").is_some(),
                    at_one,
                    "{}",
                    answer.text()
                );
                if at_one {
                    session = Some((cookie(&answer)?, answer.text().to_owned()));
                }
            }
            let (session, home) = session.context("none came to one")?;
            assert!(session.starts_with("s="));
            for _ in 0..50 {
                assert_eq!(with(&mut http, "cookie", &session).await?.text(), home);
            }
            Ok(())
        },
    );
}
