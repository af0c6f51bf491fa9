//! Requests in plain text: which listener has a host, what backends are told, and who may come in.

use culvert_hbone::Authority;
use culvert_proto::istio::security::{self, Action};
use culvert_proto::type_url;
use culvert_proto::waypoint as pb;
use culvert_proto::waypoint::ListenerProtocol::Http;

use super::listener;
use crate::backend::{Backend, Speaks, response};
use crate::mesh::{Mesh, ip, test};
use crate::outside::{self, of};
use crate::resources::{AppProtocol, authorization, fault, prefix, rule, service_behind};

async fn two(mesh: &Mesh) -> anyhow::Result<[Backend; 2]> {
    mesh.service("a", "10.96.0.10")?;
    mesh.service("b", "10.96.0.11")?;
    Ok([
        Backend::named(mesh, "a-1", "a", 10).await?,
        Backend::named(mesh, "b-1", "b", 11).await?,
    ])
}

#[test]
fn a_host_belongs_to_the_most_specific_listener_alone() {
    test(
        "gateway::http::a_host_belongs_to_the_most_specific_listener_alone",
        |mesh| async move {
            let _backends = two(&mesh).await?;
            mesh.listeners(vec![
                listener("all", 8000, Http, ""),
                listener("wild", 8000, Http, "*.example"),
                listener("exact", 8000, Http, "a.example"),
                pb::Listener {
                    unresolved: "no certificate".into(),
                    ..listener("broken", 8000, Http, "broken.example")
                },
            ])?;
            // Routes at less specific listeners that would match everything.
            mesh.attach("all", "all", &[], "b")?;
            mesh.attach("wild", "wild", &["*.example"], "b")?;
            let only = vec![rule(vec![prefix("/only")], &[("a", 1)])];
            mesh.attach_rules("exact", "exact", &["a.example"], only)?;
            for mut http in [outside::http1(8000).await?, outside::http2(8000).await?] {
                for (host, path, expected) in [
                    ("a.example", "/only", (200, "a-1")),
                    ("A.Example.:8000", "/only", (200, "a-1")),
                    ("b.example", "/other", (200, "b-1")),
                    ("x.y.example", "/", (200, "b-1")),
                    ("elsewhere", "/", (200, "b-1")),
                ] {
                    let answer = http.fetch(of(host, path)).await?;
                    assert_eq!((answer.status.as_u16(), answer.text()), expected, "{host}");
                }
                let answer = http.fetch(of("a.example", "/other")).await?;
                let reason = answer.header("culvert-deny-reason");
                assert_eq!(
                    (answer.status.as_u16(), reason),
                    (404, Some("route_not_found"))
                );
                let answer = http.fetch(of("broken.example", "/")).await?;
                let reason = answer.header("culvert-deny-reason");
                assert_eq!(
                    (answer.status.as_u16(), reason),
                    (500, Some("backend_unresolved"))
                );
                assert_eq!(answer.text(), "backend_unresolved\n", "and why, is for us");
            }
            Ok(())
        },
    );
}

#[test]
fn a_wildcard_of_one_label_leaves_the_others_to_whoever_has_them() {
    test(
        "gateway::http::a_wildcard_of_one_label_leaves_the_others_to_whoever_has_them",
        |mesh| async move {
            let _backends = two(&mesh).await?;
            let one = pb::Listener {
                one_label: true,
                ..listener("one", 8000, Http, "*.foo.example")
            };
            mesh.attach("one", "one", &[], "a")?;
            mesh.attach("all", "all", &[], "b")?;
            for (listeners, others) in [
                (vec![one.clone()], (404, "")),
                (vec![one, listener("all", 8000, Http, "")], (200, "b-1")),
            ] {
                mesh.listeners(listeners)?;
                let mut http = outside::http1(8000).await?;
                for (host, expected) in [
                    ("bar.foo.example", (200, "a-1")),
                    ("baz.bar.foo.example", others),
                    ("foo.example", others),
                    ("xfoo.example", others),
                ] {
                    let answer = http.fetch(of(host, "/")).await?;
                    let text = if answer.status == 200 {
                        answer.text()
                    } else {
                        ""
                    };
                    assert_eq!((answer.status.as_u16(), text), expected, "{host}");
                }
            }
            Ok(())
        },
    );
}

#[test]
fn what_has_a_waypoint_is_reached_through_it() {
    test(
        "gateway::http::what_has_a_waypoint_is_reached_through_it",
        |mesh| async move {
            let behind = service_behind("a", "10.96.0.10", AppProtocol::Unknown, ip(20));
            mesh.put(type_url::ADDRESS, &behind)?;
            let direct = Backend::named(&mesh, "a-1", "a", 10).await?;
            let waypoint = Backend::named(&mesh, "waypoint-1", "none", 20).await?;
            mesh.listeners(vec![listener("all", 8000, Http, "")])?;
            mesh.attach("all", "all", &[], "a")?;
            let mut http = outside::http1(8000).await?;
            for _ in 0..10 {
                let answer = http.fetch(of("a.example", "/")).await?;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "waypoint-1"));
            }
            let asked = waypoint.authorities.borrow().clone();
            let service = Authority::Ip("10.96.0.10:80".parse()?);
            assert!(
                !asked.is_empty() && asked.iter().all(|one| *one == service),
                "{asked:?}"
            );
            // Without an instance nothing goes past it.
            mesh.remove(type_url::ADDRESS, &waypoint.pod.uid());
            let answer = http.fetch(of("a.example", "/")).await?;
            let reason = answer.header("culvert-deny-reason");
            assert_eq!((answer.status.as_u16(), reason), (503, Some("no_endpoint")));
            assert_eq!(direct.requests.get(), 0);
            Ok(())
        },
    );
}

#[test]
fn without_a_listener_or_a_route_there_is_nothing() {
    test(
        "gateway::http::without_a_listener_or_a_route_there_is_nothing",
        |mesh| async move {
            let [a, _b] = two(&mesh).await?;
            mesh.listeners(vec![
                listener("one", 8000, Http, "one.example"),
                listener("bare", 8001, Http, ""),
            ])?;
            mesh.attach("one", "one", &["one.example"], "a")?;
            let mut http = outside::http1(8000).await?;
            assert_eq!(http.fetch(of("one.example", "/")).await?.status, 200);
            assert_eq!(http.fetch(of("two.example", "/")).await?.status, 404);
            let mut bare = outside::http1(8001).await?;
            assert_eq!(bare.fetch(of("one.example", "/")).await?.status, 404);
            assert_eq!(a.requests.get(), 1);
            Ok(())
        },
    );
}

#[test]
fn backends_are_told_who_came_and_how() {
    test(
        "gateway::http::backends_are_told_who_came_and_how",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let echo = |request: ::http::Request<hyper::body::Incoming>| async move {
                let all = |name: &str| {
                    let values = request.headers().get_all(name).iter();
                    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
                    values.join("|")
                };
                let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(all);
                response(200, told.join(" ; "))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, echo).await?;
            mesh.listeners(vec![listener("http", 8000, Http, "")])?;
            mesh.attach("web", "http", &[], "web")?;
            let mut http = outside::http1(8000).await?;
            assert_eq!(http.get("/").await?.text(), "10.99.0.2 ; http ; ");
            let mut request = of("web", "/");
            for (name, value) in [
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-for", "5.6.7.8, 9.9.9.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "mine"),
            ] {
                request.headers_mut().append(name, value.parse()?);
            }
            assert_eq!(
                http.fetch(request).await?.text(),
                "1.2.3.4, 5.6.7.8, 9.9.9.9, 10.99.0.2 ; http ; mine"
            );
            Ok(())
        },
    );
}

/// A policy `demo/NAME` about the client's address.
fn by_address(name: &str, action: Action, address: [u8; 4]) -> (String, security::Authorization) {
    let (key, mut policy) = authorization(name, action, "x", None);
    let block = security::Address {
        address: address.to_vec().into(),
        length: 32,
    };
    policy.rules[0].clauses[0].matches = vec![security::Match {
        source_ips: vec![block],
        ..Default::default()
    }];
    (key, policy)
}

#[test]
fn the_gateways_policies_judge_addresses_before_anything_is_read() {
    test(
        "gateway::http::the_gateways_policies_judge_addresses_before_anything_is_read",
        |mesh| async move {
            let [a, _b] = two(&mesh).await?;
            mesh.attach("web", "http", &[], "a")?;
            let listeners = || vec![listener("http", 8000, Http, "")];
            mesh.gateway(listeners(), &["demo/who"])?;
            let refused = async || {
                let mut stream = outside::tcp(8000).await?;
                anyhow::Ok(outside::end(&mut stream).await?.is_err())
            };
            assert!(refused().await?, "an unknown policy denies");
            let policies = [
                (by_address("who", Action::Deny, [10, 99, 0, 2]), true),
                (by_address("who", Action::Deny, [10, 99, 0, 3]), false),
                (by_address("who", Action::Allow, [10, 99, 0, 3]), true),
                (by_address("who", Action::Allow, [10, 99, 0, 2]), false),
                (authorization("who", Action::Allow, "curl", None), true),
                (authorization("who", Action::Deny, "curl", None), false),
            ];
            for (index, (policy, denied)) in policies.into_iter().enumerate() {
                mesh.put(type_url::AUTHORIZATION, &policy)?;
                if denied {
                    assert!(refused().await?, "{index}");
                } else {
                    let answer = outside::http1(8000).await?.get("/").await?;
                    assert_eq!(answer.status, 200, "{index}");
                }
            }
            assert_eq!(a.requests.get(), 3);
            // An open connection is judged anew with each request.
            let mut http = outside::http1(8000).await?;
            assert_eq!(http.get("/").await?.status, 200);
            mesh.put(
                type_url::AUTHORIZATION,
                &by_address("who", Action::Deny, [10, 99, 0, 2]),
            )?;
            assert_eq!(http.get("/").await?.status, 403);
            mesh.gateway(listeners(), &[])?;
            assert_eq!(http.get("/").await?.status, 200);
            Ok(())
        },
    );
}

#[test]
fn what_is_going_on_ends_when_its_client_is_denied() {
    test(
        "gateway::http::what_is_going_on_ends_when_its_client_is_denied",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let endless = |_: ::http::Request<hyper::body::Incoming>| async {
                let first = tokio_stream::iter([Ok(http_body::Frame::data("begin".into()))]);
                let frames = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
                let body = http_body_util::StreamBody::new(frames);
                Ok(::http::Response::new(
                    http_body_util::BodyExt::boxed_unsync(body),
                ))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, endless).await?;
            mesh.put(
                type_url::AUTHORIZATION,
                &by_address("who", Action::Deny, [10, 99, 0, 2]),
            )?;
            let listeners = || vec![listener("http", 8000, Http, "")];
            mesh.listeners(listeners())?;
            mesh.attach("web", "http", &[], "web")?;
            let body = outside::http1(8000).await?.send(of("web", "/")).await?;
            // The policy is known; that the gateway names it is what changes.
            mesh.gateway(listeners(), &["demo/who"])?;
            let ended = http_body_util::BodyExt::collect(body.into_body());
            let ended = tokio::time::timeout(crate::mesh::PATIENCE, ended).await?;
            assert!(ended.is_err(), "cut, not ended in order");
            Ok(())
        },
    );
}

#[test]
fn faults_for_principals_never_strike_a_client_without_one() {
    test(
        "gateway::http::faults_for_principals_never_strike_a_client_without_one",
        |mesh| async move {
            let _backends = two(&mesh).await?;
            mesh.listeners(vec![listener("http", 8000, Http, "")])?;
            mesh.attach("web", "http", &[], "a")?;
            let abort = |principals: Vec<String>| {
                let (name, policy) = fault("f", "other", pb::FaultPolicy::default());
                let policy = pb::FaultPolicy {
                    route_targets: vec!["demo/web".into()],
                    abort: Some(pb::FaultAbort {
                        http_status: 418,
                        per_ten_thousand: 10_000,
                        ..Default::default()
                    }),
                    principals,
                    ..policy
                };
                (name, policy)
            };
            let mut http = outside::http1(8000).await?;
            let named = vec!["cluster.local/ns/demo/sa/curl".to_owned()];
            mesh.put(type_url::FAULT_POLICY, &abort(named))?;
            assert_eq!(http.get("/").await?.status, 200);
            mesh.put(type_url::FAULT_POLICY, &abort(Vec::new()))?;
            assert_eq!(http.get("/").await?.status, 418);
            Ok(())
        },
    );
}
