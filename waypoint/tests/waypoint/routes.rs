//! Routes on real traffic: every request right, none retried.

use std::collections::BTreeMap;

use culvert_proto::{type_url, waypoint as pb};

use crate::backend::{Backend, Speaks, response};
use crate::client::{Client, get};
use crate::mesh::{at, test};
use crate::resources::{exactly, filter, prefix, route, rule, service_ref};

const VIP: &str = "10.96.0.10:80";

#[test]
fn without_a_route_requests_go_straight_to_the_service() {
    test(
        "routes::without_a_route_requests_go_straight_to_the_service",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let plain = Backend::plain(&mesh, "web-2", "web", 11, |_| async {
                response(200, "web-2")
            })
            .await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            for _ in 0..40 {
                let answer = http.get("/").await?;
                assert_eq!(answer.status, 200);
            }
            assert_eq!(web.requests.get() + plain.requests.get(), 40);
            assert!(
                web.requests.get() > 0 && plain.requests.get() > 0,
                "both endpoints serve"
            );
            assert_eq!(
                (web.connections.get(), plain.connections.get()),
                (1, 1),
                "connections are kept"
            );
            assert_eq!(
                *web.authorities.borrow(),
                [at(10, 8080).into()],
                "the tunnel names the pod's own port"
            );
            Ok(())
        },
    );
}

#[test]
fn weights_split_and_headers_choose() {
    test(
        "routes::weights_split_and_headers_choose",
        |mesh| async move {
            for (name, vip) in [
                ("web", "10.96.0.10"),
                ("v1", "10.96.0.11"),
                ("v2", "10.96.0.12"),
            ] {
                mesh.service(name, vip)?;
            }
            let v1 = Backend::named(&mesh, "v1", "v1", 10).await?;
            let v2 = Backend::named(&mesh, "v2", "v2", 11).await?;
            let by_header = pb::HttpMatch {
                headers: vec![exactly("x-canary", "yes")],
                ..Default::default()
            };
            let rules = vec![
                rule(vec![by_header], &[("v2", 1)]),
                rule(vec![], &[("v1", 90), ("v2", 10)]),
            ];
            mesh.put(type_url::HTTP_ROUTE, &route("split", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..1000 {
                *seen
                    .entry(http.get("/").await?.text().to_owned())
                    .or_default() += 1;
            }
            // 100 expected; six standard deviations are 57.
            assert!((43..=157).contains(&seen["v2"]), "{seen:?}");
            assert_eq!(seen["v1"] + seen["v2"], 1000);
            let before = (v1.requests.get(), v2.requests.get());
            for _ in 0..200 {
                let mut request = get("/");
                request.headers_mut().insert("x-canary", "yes".parse()?);
                assert_eq!(http.fetch(request).await?.text(), "v2");
            }
            assert_eq!(
                (v1.requests.get(), v2.requests.get()),
                (before.0, before.1 + 200)
            );
            Ok(())
        },
    );
}

#[test]
fn matches_decide_by_precedence() {
    test("routes::matches_decide_by_precedence", |mesh| async move {
        for (name, vip) in [
            ("web", "10.96.0.10"),
            ("a", "10.96.0.11"),
            ("b", "10.96.0.12"),
            ("c", "10.96.0.13"),
        ] {
            mesh.service(name, vip)?;
        }
        let _pods = (
            Backend::named(&mesh, "a", "a", 10).await?,
            Backend::named(&mesh, "b", "b", 11).await?,
            Backend::named(&mesh, "c", "c", 12).await?,
        );
        let exact = pb::PathMatch {
            kind: Some(pb::path_match::Kind::Exact("/api/x".into())),
        };
        let exact = pb::HttpMatch {
            path: Some(exact),
            ..Default::default()
        };
        let query = pb::HttpMatch {
            query_params: vec![exactly("v", "b")],
            ..prefix("/api")
        };
        let method = pb::HttpMatch {
            method: "DELETE".into(),
            ..prefix("/api")
        };
        let rules = vec![
            rule(vec![prefix("/api")], &[("a", 1)]),
            rule(vec![query, method], &[("b", 1)]),
            rule(vec![exact], &[("c", 1)]),
        ];
        mesh.put(type_url::HTTP_ROUTE, &route("api", "web", rules))?;
        let client = Client::new(&mesh, "curl").await?;
        for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
            for (path, expected) in [
                ("/api", "a"),
                ("/api/", "a"),
                ("/api/y?v=b", "b"),
                ("/api/y?v=c", "a"),
                ("/api/x?v=b", "c"),
            ] {
                assert_eq!(http.get(path).await?.text(), expected, "{path}");
            }
            let mut delete = get("/api/z");
            *delete.method_mut() = http::Method::DELETE;
            assert_eq!(http.fetch(delete).await?.text(), "b");
            for path in ["/", "/apis", "//api"] {
                let answer = http.get(path).await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                    (404, Some("route_not_found"))
                );
            }
        }
        Ok(())
    });
}

#[test]
fn filters_change_requests_and_responses() {
    test(
        "routes::filters_change_requests_and_responses",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let echo = |request: http::Request<hyper::body::Incoming>| async move {
                let head = request.headers();
                let named = |name: &str| {
                    head.get(name)
                        .and_then(|v| v.to_str().ok())
                        .unwrap_or("-")
                        .to_owned()
                };
                let host = request
                    .uri()
                    .authority()
                    .map_or_else(|| named("host"), ToString::to_string);
                let text = format!(
                    "{} host={host} set={} gone={}",
                    request
                        .uri()
                        .path_and_query()
                        .map_or("", |target| target.as_str()),
                    named("x-set"),
                    named("x-gone")
                );
                let mut answer = response(200, text)?;
                answer.headers_mut().insert("x-backend", "secret".parse()?);
                Ok(answer)
            };
            let _pod = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, echo).await?;
            let header = |name: &str, value: &str| pb::Header {
                name: name.into(),
                value: value.into(),
            };
            let change = pb::HeaderChange {
                set: vec![header("x-set", "1")],
                add: vec![],
                remove: vec!["x-gone".into()],
            };
            let answer = pb::HeaderChange {
                set: vec![header("x-new", "2")],
                add: vec![],
                remove: vec!["x-backend".into()],
            };
            let path = pb::PathChange {
                kind: Some(pb::path_change::Kind::Prefix("/inner".into())),
            };
            let rewrite = pb::Rewrite {
                hostname: "inner.demo".into(),
                path: Some(path),
            };
            let mut changed = rule(vec![prefix("/outer")], &[("web", 1)]);
            changed.filters = vec![
                filter(pb::http_filter::Kind::RequestHeaders(change)),
                filter(pb::http_filter::Kind::ResponseHeaders(answer)),
                filter(pb::http_filter::Kind::Rewrite(rewrite)),
            ];
            mesh.put(
                type_url::HTTP_ROUTE,
                &route("filters", "web", vec![changed]),
            )?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let mut request = get("/outer/a?q=1");
                request.headers_mut().insert("x-gone", "here".parse()?);
                let answer = http.fetch(request).await?;
                assert_eq!(answer.text(), "/inner/a?q=1 host=inner.demo set=1 gone=-");
                assert_eq!(
                    (answer.header("x-new"), answer.header("x-backend")),
                    (Some("2"), None)
                );
            }
            Ok(())
        },
    );
}

#[test]
fn redirects_and_broken_rules_are_answered_here() {
    test(
        "routes::redirects_and_broken_rules_are_answered_here",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let redirect = pb::Redirect {
                scheme: "https".into(),
                status: 301,
                ..Default::default()
            };
            let mut moved = rule(vec![prefix("/moved")], &[]);
            moved.filters = vec![filter(pb::http_filter::Kind::Redirect(redirect))];
            let mut broken = rule(vec![prefix("/broken")], &[("web", 1)]);
            broken.filters = vec![filter(pb::http_filter::Kind::Unresolved(
                "no such filter".into(),
            ))];
            let none = rule(vec![prefix("/none")], &[("web", 0)]);
            let missing = rule(vec![prefix("/missing")], &[("nowhere", 1)]);
            let rules = vec![moved, broken, none, missing];
            mesh.put(type_url::HTTP_ROUTE, &route("filters", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let answer = http.get("/moved/x?y=z").await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("location")),
                    (301, Some("https://web.demo/moved/x?y=z"))
                );
                for path in ["/broken", "/none", "/missing"] {
                    assert_eq!(http.get(path).await?.status.as_u16(), 500, "{path}");
                }
            }
            assert_eq!(web.requests.get(), 0);
            Ok(())
        },
    );
}

#[test]
fn mirrors_get_copies_and_change_nothing() {
    test(
        "routes::mirrors_get_copies_and_change_nothing",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            mesh.service("shadow", "10.96.0.11")?;
            let _web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let bodies = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let seen = std::rc::Rc::clone(&bodies);
            let shadow = Backend::start(
                &mesh,
                "shadow-1",
                "shadow",
                11,
                Speaks::Http1,
                move |request| {
                    let seen = std::rc::Rc::clone(&seen);
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = http_body_util::BodyExt::collect(request.into_body())
                            .await?
                            .to_bytes();
                        seen.borrow_mut().push((path, body));
                        response(500, "nobody reads this")
                    }
                },
            )
            .await?;
            let target = Some(pb::http_backend::Target::Service(service_ref("shadow", 80)));
            let backend = Some(pb::HttpBackend {
                target,
                weight: 1,
                filters: Vec::new(),
            });
            let mirror = pb::Mirror {
                backend,
                per_ten_thousand: 10_000,
            };
            let mut mirrored = rule(vec![], &[("web", 1)]);
            mirrored.filters = vec![filter(pb::http_filter::Kind::Mirror(mirror))];
            mesh.put(
                type_url::HTTP_ROUTE,
                &route("mirror", "web", vec![mirrored]),
            )?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            for n in 0..20 {
                assert_eq!(http.get(&format!("/get/{n}")).await?.text(), "web-1");
            }
            for n in 0..20 {
                let body = crate::backend::text(format!("body {n}"));
                assert_eq!(
                    http.fetch(crate::client::post(&format!("/post/{n}"), body))
                        .await?
                        .text(),
                    "web-1"
                );
            }
            while shadow.requests.get() < 40 || bodies.borrow().len() < 40 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let bodies = bodies.borrow();
            for n in 0..20 {
                let sent = (
                    format!("/post/{n}"),
                    bytes::Bytes::from(format!("body {n}")),
                );
                assert!(bodies.contains(&sent), "{sent:?}");
                assert!(bodies.contains(&(format!("/get/{n}"), bytes::Bytes::new())));
            }
            Ok(())
        },
    );
}

#[test]
fn only_what_names_this_waypoint_is_served() {
    test(
        "routes::only_what_names_this_waypoint_is_served",
        |mesh| async move {
            use crate::resources::{AppProtocol, service};
            mesh.service("web", "10.96.0.10")?;
            let (name, mut other) = service("other", "10.96.0.20", AppProtocol::Unknown);
            if let Some(culvert_proto::istio::workload::address::Type::Service(service)) =
                &mut other.r#type
            {
                service.waypoint = None;
            }
            mesh.put(type_url::ADDRESS, &(name, other))?;
            let web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let client = Client::new(&mesh, "curl").await?;
            for (authority, reason) in [
                ("10.96.0.20:80", "destination_mismatch"),
                ("10.96.0.10:81", "port_unknown"),
                ("10.96.0.99:80", "destination_unknown"),
                ("10.99.0.10:8080", "destination_mismatch"),
                ("10.99.0.1:15008", "destination_mismatch"),
                ("nowhere.demo:80", "destination_unknown"),
            ] {
                match client.connect(authority).await {
                    Err(culvert_hbone::ConnectError::Refused { deny_reason, .. }) => {
                        assert_eq!(deny_reason.as_deref(), Some(reason), "{authority}");
                    }
                    other => anyhow::bail!("{authority}: {other:?}"),
                }
            }
            assert_eq!(web.connections.get(), 0);
            let answer = client
                .http1("web.demo.svc.cluster.local:80")
                .await?
                .get("/")
                .await?;
            assert_eq!(
                answer.text(),
                "web-1",
                "a service is found by its name, too"
            );
            Ok(())
        },
    );
}

#[test]
fn the_services_protocol_is_spoken_to_backends_and_clients_may_choose() {
    test(
        "routes::the_services_protocol_is_spoken_to_backends_and_clients_may_choose",
        |mesh| async move {
            use crate::resources::{AppProtocol, service};
            for (protocol, speaks) in [
                (AppProtocol::Http11, Speaks::Http1),
                (AppProtocol::Http2, Speaks::Http2),
            ] {
                mesh.put(type_url::ADDRESS, &service("web", "10.96.0.10", protocol))?;
                let last = if speaks == Speaks::Http1 { 10 } else { 11 };
                let backend = Backend::start(&mesh, "web-1", "web", last, speaks, |_| async {
                    response(200, "ok")
                })
                .await?;
                let client = Client::new(&mesh, "curl").await?;
                for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                    assert_eq!(http.get("/").await?.text(), "ok", "{protocol:?}");
                }
                assert_eq!(backend.requests.get(), 2);
                for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], b"*1\r\n$4\r\nPING\r\n"] {
                    assert!(
                        client.raw(VIP, bytes).await?.starts_with("HTTP/1.1 400 "),
                        "{protocol:?}"
                    );
                }
                assert_eq!(
                    backend.connections.get(),
                    1,
                    "what is no HTTP reaches nobody"
                );
            }
            Ok(())
        },
    );
}
