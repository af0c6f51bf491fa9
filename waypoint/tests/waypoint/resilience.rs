//! Endpoints that fail are left out and come back; new ones come to their share; keys stay where they are.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use culvert_proto::{type_url, waypoint as pb};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use crate::backend::{Backend, Speaks, response};
use crate::client::{Client, Http, get};
use crate::mesh::{Mesh, test};
use crate::resources::{AppProtocol, millis, service, traffic};

const VIP: &str = "10.96.0.10:80";

fn outlier() -> pb::OutlierDetection {
    pb::OutlierDetection {
        consecutive_5xx_errors: 5,
        consecutive_gateway_errors: 3,
        interval: millis(50),
        base_ejection_time: millis(600_000),
        max_ejection_percent: 50,
        r#return: Some(ramp(1)),
        ..Default::default()
    }
}

fn ramp(duration: i32) -> pb::Ramp {
    pb::Ramp {
        duration: millis(duration),
        minimum_percent: 10,
        aggression: 100,
    }
}

fn policy(outlier: pb::OutlierDetection) -> (String, pb::TrafficPolicy) {
    let policy = pb::TrafficPolicy {
        outlier_detection: Some(outlier),
        load_balancer: pb::LoadBalancer::RoundRobin.into(),
        ..Default::default()
    };
    traffic("resilience", "web", policy)
}

/// A backend that answers with this status, or with its own name.
async fn switched(mesh: &Mesh, name: &'static str, last: u8) -> Result<(Backend, Rc<Cell<u16>>)> {
    let status = Rc::new(Cell::new(200));
    let answered = Rc::clone(&status);
    let answer = move |_| {
        let status = answered.get();
        async move { response(status, name) }
    };
    let backend = Backend::start(mesh, name, "web", last, Speaks::Both, answer).await?;
    Ok((backend, status))
}

/// How often each text was the answer to so many requests.
async fn tally(http: &mut Http, count: usize) -> Result<BTreeMap<String, usize>> {
    let mut texts = BTreeMap::new();
    for _ in 0..count {
        let answer = http.get("/").await?;
        *texts.entry(answer.text().to_owned()).or_default() += 1;
    }
    Ok(texts)
}

#[test]
fn who_fails_is_left_out_on_every_core_and_comes_back() {
    test(
        "resilience::who_fails_is_left_out_on_every_core_and_comes_back",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (bad, status) = switched(&mesh, "bad", 10).await?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            mesh.put(type_url::TRAFFIC_POLICY, &policy(outlier()))?;
            status.set(503);
            let clients = [
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "curl").await?,
            ];
            let mut one = clients[0].http1(VIP).await?;
            let mut other = clients[1].http1(VIP).await?;
            // Each core knows both; errors of both cores make one row.
            tally(&mut one, 2).await?;
            tally(&mut other, 2).await?;
            tally(&mut one, 4).await?;
            assert_eq!(bad.requests.get(), 3, "left out after three");
            let answered = tally(&mut one, 20)
                .await?
                .into_iter()
                .chain(tally(&mut other, 20).await?);
            assert!(
                answered
                    .into_iter()
                    .all(|(text, count)| text == "good" && count == 20)
            );
            assert_eq!((bad.requests.get(), good.requests.get()), (3, 45));
            // Another policy does not forget who is left out.
            let longer = pb::OutlierDetection {
                max_ejection_percent: 60,
                ..outlier()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &policy(longer))?;
            tally(&mut one, 10).await?;
            assert_eq!(bad.requests.get(), 3);
            Ok(())
        },
    );
}

#[test]
fn who_was_left_out_serves_again_when_its_time_is_over() {
    test(
        "resilience::who_was_left_out_serves_again_when_its_time_is_over",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (bad, status) = switched(&mesh, "bad", 10).await?;
            let _good = Backend::named(&mesh, "good", "web", 11).await?;
            let brief = pb::OutlierDetection {
                base_ejection_time: millis(300),
                ..outlier()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &policy(brief))?;
            status.set(502);
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            while bad.requests.get() < 3 {
                http.get("/").await?;
            }
            status.set(200);
            while http.get("/").await?.text() != "bad" {}
            assert!(tally(&mut http, 40).await?.contains_key("bad"));
            Ok(())
        },
    );
}

#[test]
fn connections_that_fail_count_and_faults_do_not() {
    test(
        "resilience::connections_that_fail_count_and_faults_do_not",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            let other = Backend::named(&mesh, "other", "web", 12).await?;
            mesh.put(type_url::TRAFFIC_POLICY, &policy(outlier()))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            // Requests that never reach an endpoint, and an endpoint's own 404s, say nothing of it.
            let fault = pb::FaultPolicy {
                abort: Some(pb::FaultAbort {
                    http_status: 503,
                    per_ten_thousand: 10_000,
                    ..Default::default()
                }),
                ..Default::default()
            };
            mesh.put(
                type_url::FAULT_POLICY,
                &crate::resources::fault("f", "web", fault),
            )?;
            assert_eq!(tally(&mut http, 20).await?.len(), 1);
            mesh.put(
                type_url::FAULT_POLICY,
                &crate::resources::fault("f", "web", pb::FaultPolicy::default()),
            )?;
            assert_eq!(tally(&mut http, 20).await?.len(), 2, "both serve");
            let before = good.requests.get() + other.requests.get();
            // An endpoint that nothing listens at: its failures are retried elsewhere, until nobody goes there.
            let gone = crate::resources::Pod {
                name: "gone".into(),
                ip: crate::mesh::ip(13),
                service: "web".into(),
                hbone: true,
                policies: Vec::new(),
            };
            mesh.put(type_url::ADDRESS, &gone.resource())?;
            assert_eq!(tally(&mut http, 40).await?.values().sum::<usize>(), 40);
            assert_eq!(good.requests.get() + other.requests.get() - before, 40);
            let metrics = culvert_runtime::metrics::encode();
            let ejected = metrics.lines().any(|line| {
                line.starts_with("culvert_waypoint_ejections_total")
                    && line.contains("consecutive-gateway-errors")
            });
            assert!(ejected, "{metrics}");
            Ok(())
        },
    );
}

#[test]
fn all_are_used_again_when_too_few_are_left() {
    test(
        "resilience::all_are_used_again_when_too_few_are_left",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (one, first) = switched(&mesh, "one", 10).await?;
            let (other, second) = switched(&mesh, "other", 11).await?;
            let all = |min_health_percent| pb::OutlierDetection {
                max_ejection_percent: 100,
                min_health_percent,
                ..outlier()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &policy(all(0)))?;
            first.set(503);
            second.set(503);
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut answers = Vec::new();
            for _ in 0..10 {
                answers.push(http.get("/").await?);
            }
            assert_eq!((one.requests.get(), other.requests.get()), (3, 3));
            let refused = answers
                .last()
                .and_then(|answer| answer.header("culvert-deny-reason"));
            assert_eq!(refused, Some("no_endpoint"));
            mesh.put(type_url::TRAFFIC_POLICY, &policy(all(60)))?;
            tally(&mut http, 10).await?;
            assert_eq!((one.requests.get(), other.requests.get()), (8, 8));
            Ok(())
        },
    );
}

#[test]
fn who_is_new_gets_less_than_its_share_at_first() {
    test(
        "resilience::who_is_new_gets_less_than_its_share_at_first",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let old = Backend::named(&mesh, "old", "web", 10).await?;
            let policy = pb::TrafficPolicy {
                warmup: Some(ramp(600_000)),
                load_balancer: pb::LoadBalancer::RoundRobin.into(),
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("warm", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            tally(&mut http, 10).await?;
            assert_eq!(old.requests.get(), 10);
            let new = Backend::named(&mesh, "new", "web", 11).await?;
            tally(&mut http, 110).await?;
            // A tenth of what the other one gets.
            assert!(
                (5..=20).contains(&new.requests.get()),
                "{}",
                new.requests.get()
            );
            Ok(())
        },
    );
}

/// Endpoints by a key; none is ever too full but where the test is about that.
fn hashing(key: pb::consistent_hash::Key, balance_factor: u32) -> (String, pb::TrafficPolicy) {
    let hash = pb::ConsistentHash {
        key: Some(key),
        balance_factor,
    };
    let policy = pb::TrafficPolicy {
        load_balancer: pb::LoadBalancer::ConsistentHash.into(),
        consistent_hash: Some(hash),
        ..Default::default()
    };
    traffic("hash", "web", policy)
}

async fn three(mesh: &Mesh) -> Result<[Backend; 3]> {
    mesh.service("web", "10.96.0.10")?;
    Ok([
        Backend::named(mesh, "web-1", "web", 10).await?,
        Backend::named(mesh, "web-2", "web", 11).await?,
        Backend::named(mesh, "web-3", "web", 12).await?,
    ])
}

#[test]
fn a_header_is_a_key_that_keeps_its_endpoint() {
    test(
        "resilience::a_header_is_a_key_that_keeps_its_endpoint",
        |mesh| async move {
            let backends = three(&mesh).await?;
            let key = pb::consistent_hash::Key::Header("x-user".into());
            mesh.put(type_url::TRAFFIC_POLICY, &hashing(key, 10_000))?;
            let clients = [
                Client::new(&mesh, "curl").await?,
                Client::new(&mesh, "curl").await?,
            ];
            let mut connections = [clients[0].http1(VIP).await?, clients[1].http2(VIP).await?];
            let mut homes = BTreeMap::new();
            for round in 0..4 {
                for user in 0..40 {
                    let mut request = get("/");
                    request
                        .headers_mut()
                        .insert("x-user", format!("user-{user}").parse()?);
                    let text = connections[round % 2]
                        .fetch(request)
                        .await?
                        .text()
                        .to_owned();
                    let home = homes.entry(user).or_insert_with(|| text.clone());
                    assert_eq!(*home, text, "user {user}, on either core");
                }
            }
            assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 3);
            // One endpoint less: its users move, and no others.
            mesh.remove(type_url::ADDRESS, &backends[1].pod.uid());
            for (user, home) in &homes {
                let mut request = get("/");
                request
                    .headers_mut()
                    .insert("x-user", format!("user-{user}").parse()?);
                let answer = connections[0].fetch(request).await?;
                assert!(answer.text() == home || home == "web-2");
                assert_ne!(answer.text(), "web-2");
            }
            Ok(())
        },
    );
}

#[test]
fn a_cookie_is_made_where_there_is_none() {
    test(
        "resilience::a_cookie_is_made_where_there_is_none",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            let cookie = pb::HashCookie {
                name: "user".into(),
                ttl: millis(60_000),
                path: "/".into(),
            };
            let key = pb::consistent_hash::Key::Cookie(cookie);
            mesh.put(type_url::TRAFFIC_POLICY, &hashing(key, 10_000))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut homes = BTreeSet::new();
            for _ in 0..20 {
                let first = http.get("/").await?;
                let set = first.header("set-cookie").unwrap_or_default();
                let (pair, rest) = set.split_once("; ").unwrap_or_default();
                assert_eq!(rest, "Max-Age=60; Path=/; HttpOnly", "{set}");
                for _ in 0..5 {
                    let mut request = get("/");
                    request.headers_mut().insert("cookie", pair.parse()?);
                    let answer = http.fetch(request).await?;
                    assert_eq!(
                        (answer.text(), answer.header("set-cookie")),
                        (first.text(), None)
                    );
                }
                homes.insert(first.text().to_owned());
            }
            assert_eq!(homes.len(), 3, "clients are spread");
            Ok(())
        },
    );
}

#[test]
fn connections_of_one_client_go_to_one_endpoint() {
    test(
        "resilience::connections_of_one_client_go_to_one_endpoint",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Tcp),
            )?;
            let mut backends = Vec::new();
            for (name, last) in [("web-1", 10), ("web-2", 11), ("web-3", 12)] {
                let greet = |mut stream: culvert_hbone::TunnelStream| async move {
                    let mut all = Vec::new();
                    drop(stream.read_to_end(&mut all).await);
                };
                backends.push(Backend::bytes(&mesh, name, "web", last, greet).await?);
            }
            let key = pb::consistent_hash::Key::SourceIp(true);
            mesh.put(type_url::TRAFFIC_POLICY, &hashing(key, 10_000))?;
            for name in ["one", "two"] {
                let client = Client::new(&mesh, name).await?;
                let before: Vec<_> = backends.iter().map(|b| b.connections.get()).collect();
                for _ in 0..9 {
                    drop(client.connect(VIP).await?);
                }
                let after = backends.iter().map(|b| b.connections.get());
                let mut more: Vec<_> = after
                    .zip(before)
                    .map(|(after, before)| after - before)
                    .collect();
                more.sort_unstable();
                assert_eq!(more, [0, 0, 9]);
            }
            Ok(())
        },
    );
}

#[test]
fn a_key_that_everybody_has_does_not_drown_one_endpoint() {
    test(
        "resilience::a_key_that_everybody_has_does_not_drown_one_endpoint",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let leave = Rc::new(Semaphore::new(0));
            let mut backends = Vec::new();
            for (name, last) in [("web-1", 10), ("web-2", 11), ("web-3", 12)] {
                let wait = Rc::clone(&leave);
                let answer = move |_| {
                    let wait = Rc::clone(&wait);
                    async move {
                        wait.acquire().await?.forget();
                        response(200, name)
                    }
                };
                let backend = Backend::start(&mesh, name, "web", last, Speaks::Both, answer);
                backends.push(backend.await?);
            }
            let key = pb::consistent_hash::Key::Header("host".into());
            mesh.put(type_url::TRAFFIC_POLICY, &hashing(key, 125))?;
            // One tunnel, so that all of it is on one core.
            let client = Client::new(&mesh, "curl").await?;
            let mut requests = Vec::new();
            for _ in 0..12 {
                let mut http = client.http1(VIP).await?;
                requests.push(spawn_local(async move { http.get("/").await }));
            }
            let counts = || backends.iter().map(|backend| backend.requests.get());
            while counts().sum::<usize>() < 12 {
                tokio::task::yield_now().await;
            }
            assert!(
                counts().all(|count| count <= 5),
                "{:?}",
                counts().collect::<Vec<_>>()
            );
            leave.add_permits(12);
            for request in requests {
                assert_eq!(request.await??.status, 200);
            }
            Ok(())
        },
    );
}

#[test]
fn what_grpc_says_in_its_trailers_counts() {
    test(
        "resilience::what_grpc_says_in_its_trailers_counts",
        |mesh| async move {
            let grpc = service("web", "10.96.0.10", AppProtocol::Grpc);
            mesh.put(type_url::ADDRESS, &grpc)?;
            let mut backends = Vec::new();
            for (last, status) in [(10, "14"), (11, "0")] {
                let answer = move |_| async move {
                    let trailers = HeaderMap::from_iter([(
                        HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static(status),
                    )]);
                    let body = Full::<Bytes>::default()
                        .with_trailers(async move { Some(Ok(trailers)) })
                        .map_err(|never| match never {})
                        .boxed_unsync();
                    let response = Response::builder().header("content-type", "application/grpc");
                    Ok(response.body(body)?)
                };
                let name = format!("web-{last}");
                let backend = Backend::start(&mesh, &name, "web", last, Speaks::Http2, answer);
                backends.push(backend.await?);
            }
            mesh.put(type_url::TRAFFIC_POLICY, &policy(outlier()))?;
            let mut http = Client::new(&mesh, "curl").await?.http2(VIP).await?;
            for _ in 0..20 {
                assert_eq!(http.get("/").await?.status, 200);
            }
            assert_eq!(
                (backends[0].requests.get(), backends[1].requests.get()),
                (3, 17)
            );
            Ok(())
        },
    );
}

/// A backend that never answers.
async fn stuck(mesh: &Mesh, last: u8) -> Result<Backend> {
    Backend::start(mesh, "stuck", "web", last, Speaks::Both, |_| {
        std::future::pending()
    })
    .await
}

#[test]
fn answers_that_do_not_come_in_time_count_without_any_retry() {
    test(
        "resilience::answers_that_do_not_come_in_time_count_without_any_retry",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let stuck = stuck(&mesh, 10).await?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            let (name, mut timed) = policy(outlier());
            timed.request_timeout = millis(100);
            mesh.put(type_url::TRAFFIC_POLICY, &(name, timed))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut late = 0;
            for _ in 0..20 {
                late += usize::from(http.get("/").await?.status == 504);
            }
            assert_eq!(
                (late, stuck.requests.get(), good.requests.get()),
                (3, 3, 17)
            );
            Ok(())
        },
    );
}

#[test]
fn clients_that_go_away_say_nothing_of_an_endpoint() {
    test(
        "resilience::clients_that_go_away_say_nothing_of_an_endpoint",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let stuck = stuck(&mesh, 10).await?;
            let _good = Backend::named(&mesh, "good", "web", 11).await?;
            mesh.put(type_url::TRAFFIC_POLICY, &policy(outlier()))?;
            let client = Client::new(&mesh, "curl").await?;
            for _ in 0..12 {
                let before = stuck.requests.get();
                let mut http = client.http1(VIP).await?;
                let request = spawn_local(async move { http.get("/").await });
                while !request.is_finished() && stuck.requests.get() == before {
                    tokio::task::yield_now().await;
                }
                request.abort();
            }
            assert_eq!(stuck.requests.get(), 6, "every other one, to the end");
            Ok(())
        },
    );
}
