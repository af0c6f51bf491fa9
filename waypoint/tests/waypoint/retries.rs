//! Retries: the backend's own counter proves them, and the budget bounds them.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::Result;
use culvert_proto::{type_url, waypoint as pb};

use crate::backend::{Backend, Body, BodyError, Speaks, response, text};
use crate::client::{Client, get, post};
use crate::mesh::{Mesh, ip, test};
use crate::resources::{AppProtocol, Pod, millis, route, rule, service, traffic};

const VIP: &str = "10.96.0.10:80";

fn retry(attempts: u32, codes: &[u32], conditions: &[&str]) -> Option<pb::Retry> {
    Some(pb::Retry {
        attempts,
        codes: codes.to_vec(),
        conditions: conditions.iter().map(|c| (*c).to_owned()).collect(),
        backoff: millis(1),
        per_try_timeout: None,
    })
}

/// A backend that answers 503 twice out of three times.
async fn flaky(mesh: &Mesh, name: &str, last: u8) -> Result<Backend> {
    let count = Rc::new(Cell::new(0));
    let answer = move |request: http::Request<hyper::body::Incoming>| {
        let count = Rc::clone(&count);
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body())
                .await?
                .to_bytes();
            count.set(count.get() + 1);
            if count.get() % 3 == 0 {
                response(200, body)
            } else {
                response(503, "not now")
            }
        }
    };
    Backend::start(mesh, name, "web", last, Speaks::Both, answer).await
}

/// No budget but the given share.
fn generous(policy: pb::TrafficPolicy) -> pb::TrafficPolicy {
    let budget = pb::RetryBudget {
        percent: 100,
        min_per_second: 1000,
        interval: millis(10_000),
        ..Default::default()
    };
    pb::TrafficPolicy {
        retry_budget: Some(budget),
        ..policy
    }
}

#[test]
fn a_retry_hides_503s_with_and_without_a_body() {
    test(
        "retries::a_retry_hides_503s_with_and_without_a_body",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = flaky(&mesh, "web-1", 10).await?;
            let policy = generous(pb::TrafficPolicy {
                retry: retry(2, &[503], &[]),
                ..Default::default()
            });
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let before = backend.requests.get();
                for n in 0..30 {
                    assert_eq!(http.get("/").await?.status, 200);
                    let body = format!("{n}").repeat(1000);
                    let answer = http.fetch(post("/", text(body.clone()))).await?;
                    assert_eq!(
                        (answer.status.as_u16(), answer.text()),
                        (200, body.as_str())
                    );
                }
                assert_eq!(backend.requests.get() - before, 3 * 60);
            }
            Ok(())
        },
    );
}

#[test]
fn the_routes_own_retry_goes_first_and_limits_tries() {
    test(
        "retries::the_routes_own_retry_goes_first_and_limits_tries",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = flaky(&mesh, "web-1", 10).await?;
            let policy = generous(pb::TrafficPolicy {
                retry: retry(5, &[503], &[]),
                ..Default::default()
            });
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let mut own = rule(vec![], &[("web", 1)]);
            own.retry = retry(1, &[503], &["connect-failure", "reset"]);
            mesh.put(type_url::HTTP_ROUTE, &route("own", "web", vec![own]))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut statuses = Vec::new();
            for _ in 0..3 {
                statuses.push(http.get("/").await?.status.as_u16());
            }
            assert_eq!(
                statuses,
                [503, 200, 503],
                "two tries at most, every third succeeds"
            );
            assert_eq!(backend.requests.get(), 5);
            Ok(())
        },
    );
}

#[test]
fn each_retry_goes_to_another_endpoint() {
    test(
        "retries::each_retry_goes_to_another_endpoint",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let bad = Backend::start(&mesh, "bad", "web", 10, Speaks::Both, |_| async {
                response(500, "bad")
            })
            .await?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            let policy = generous(pb::TrafficPolicy {
                retry: retry(1, &[], &["5xx"]),
                ..Default::default()
            });
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            for _ in 0..50 {
                assert_eq!(http.get("/").await?.text(), "good");
            }
            assert_eq!(good.requests.get(), 50);
            assert!(
                bad.requests.get() > 0,
                "the bad one was tried first sometimes"
            );
            Ok(())
        },
    );
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over_without_any_policy() {
    test(
        "retries::an_endpoint_that_cannot_be_reached_is_passed_over_without_any_policy",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            let gone = Pod {
                name: "gone".into(),
                ip: ip(12),
                service: "web".into(),
                hbone: true,
                policies: vec![],
            };
            mesh.put(type_url::ADDRESS, &gone.resource())?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            for n in 0..20 {
                let answer = http.fetch(post("/", text(format!("{n}")))).await?;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "good"));
            }
            assert_eq!(good.requests.get(), 20, "no request was sent twice");
            Ok(())
        },
    );
}

#[test]
fn nobody_asked_so_nothing_is_sent_twice() {
    test(
        "retries::nobody_asked_so_nothing_is_sent_twice",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let fail = |request: http::Request<hyper::body::Incoming>| async move {
                if request.uri().path() == "/reset" {
                    return Err::<http::Response<Body>, BodyError>("the connection breaks".into());
                }
                response(503, "no")
            };
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Http1, fail).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(http.get("/").await?.text(), "no");
            let answer = http.get("/reset").await?;
            assert_eq!(
                (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                (503, Some("connect_failed"))
            );
            assert_eq!(backend.requests.get(), 2);
            Ok(())
        },
    );
}

#[test]
fn the_budget_bounds_retries_of_all_requests_together() {
    test(
        "retries::the_budget_bounds_retries_of_all_requests_together",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let down = Backend::start(&mesh, "down", "web", 10, Speaks::Both, |_| async {
                response(503, "down")
            })
            .await?;
            let budget = pb::RetryBudget {
                percent: 20,
                min_per_second: 0,
                interval: millis(3_600_000),
                ..Default::default()
            };
            let policy = pb::TrafficPolicy {
                retry: retry(3, &[503], &[]),
                retry_budget: Some(budget),
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let client = Client::new(&mesh, "curl").await?;
            let other = Client::new(&mesh, "wget").await?;
            for client in [&client, &other] {
                // Only now: a connection that says nothing for a moment is no HTTP.
                let mut http = client.http1(VIP).await?;
                for _ in 0..100 {
                    assert_eq!(http.get("/").await?.status, 503);
                }
            }
            assert_eq!(
                down.requests.get(),
                200 + 40,
                "one retry for five requests, over both cores"
            );
            Ok(())
        },
    );
}

#[test]
fn a_backends_policy_counts_all_its_requests_and_refuses_beyond() {
    test(
        "retries::a_backends_policy_counts_all_its_requests_and_refuses_beyond",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            mesh.service("api", "10.96.0.11")?;
            let [down, other] =
                [("down", "web", 10), ("other", "api", 11)].map(|(name, service, last)| {
                    Backend::start(&mesh, name, service, last, Speaks::Both, |_| async {
                        response(502, "down")
                    })
                });
            let (down, other) = (down.await?, other.await?);
            let policy = pb::TrafficPolicy {
                backend: true,
                retry_budget: Some(pb::RetryBudget {
                    percent: 20,
                    min_per_second: 3,
                    min_interval: millis(3_600_000),
                    interval: millis(3_600_000),
                    refuse: true,
                }),
                ..Default::default()
            };
            let (_, policy) = traffic("budget", "web", policy);
            let name = "XBackendTrafficPolicy/demo/budget".to_owned();
            mesh.put(type_url::TRAFFIC_POLICY, &(name, policy))?;
            let to = |path: &str, backend: &str, attempts| {
                let mut rule = rule(vec![crate::resources::prefix(path)], &[(backend, 1)]);
                rule.retry = (attempts > 0)
                    .then(|| retry(attempts, &[502], &[]))
                    .flatten();
                rule
            };
            let rules = vec![
                to("/again", "web", 5),
                to("/once", "web", 0),
                to("/api", "api", 1),
            ];
            mesh.put(type_url::HTTP_ROUTE, &route("r", "web", rules))?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            // Requests that nobody wants tried again count as requests of the backend: 40, of which a fifth may be.
            for _ in 0..40 {
                assert_eq!(http.get("/once").await?.text(), "down");
            }
            assert_eq!(down.requests.get(), 40);
            // 8 and 3 are free: five and five tries again, then one, and the rest is refused.
            let mut statuses = Vec::new();
            for http in [&mut http, &mut client.http2(VIP).await?] {
                for _ in 0..2 {
                    let answer = http.get("/again").await?;
                    statuses.push((
                        answer.status.as_u16(),
                        answer.header("culvert-deny-reason").map(str::to_owned),
                    ));
                }
            }
            let overload = || Some("overload".to_owned());
            assert_eq!(
                statuses,
                [
                    (502, None),
                    (502, None),
                    (503, overload()),
                    (503, overload())
                ]
            );
            assert_eq!(down.requests.get(), 40 + 4 + 11);
            // What goes elsewhere from the same service is none of the policy's business.
            for _ in 0..20 {
                assert_eq!(http.get("/api").await?.status.as_u16(), 502);
            }
            assert_eq!(other.requests.get(), 40);
            Ok(())
        },
    );
}

#[test]
fn a_body_past_the_bound_is_passed_on_and_not_sent_again() {
    test(
        "retries::a_body_past_the_bound_is_passed_on_and_not_sent_again",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = flaky(&mesh, "web-1", 10).await?;
            let policy = generous(pb::TrafficPolicy {
                retry: retry(2, &[503], &[]),
                ..Default::default()
            });
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let fits = "a".repeat(64 * 1024);
            let too_long = "a".repeat(64 * 1024 + 1);
            let answer = http.fetch(post("/", text(fits.clone()))).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (200, fits.len())
            );
            assert_eq!(backend.requests.get(), 3);
            let statuses = [
                http.fetch(post("/", text(too_long.clone())))
                    .await?
                    .status
                    .as_u16(),
                http.fetch(post("/", text(too_long.clone())))
                    .await?
                    .status
                    .as_u16(),
            ];
            assert_eq!(statuses, [503, 503]);
            let answer = http.fetch(post("/", text(too_long.clone()))).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (200, too_long.len())
            );
            assert_eq!(backend.requests.get(), 6);
            Ok(())
        },
    );
}

#[test]
fn nothing_is_tried_again_after_the_response_began() {
    test(
        "retries::nothing_is_tried_again_after_the_response_began",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let head_arrived = Rc::new(tokio::sync::Notify::new());
            let told = Rc::clone(&head_arrived);
            let breaks = move |_: http::Request<hyper::body::Incoming>| {
                let told = Rc::clone(&told);
                async move {
                    let (sender, receiver) = tokio::sync::mpsc::channel(1);
                    tokio::task::spawn_local(async move {
                        let half = Ok(http_body::Frame::data("half of it".into()));
                        drop(sender.send(half).await);
                        told.notified().await;
                        drop(sender.send(Err::<_, BodyError>("broken".into())).await);
                    });
                    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
                    let body = http_body_util::StreamBody::new(frames);
                    let body = http_body_util::BodyExt::boxed_unsync(body);
                    Ok(http::Response::builder()
                        .header("content-length", "100")
                        .body(body)?)
                }
            };
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, breaks).await?;
            let policy = generous(pb::TrafficPolicy {
                retry: retry(3, &[], &["5xx", "reset"]),
                ..Default::default()
            });
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("retry", "web", policy))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let before = backend.requests.get();
                let response = http.send(get("/")).await?;
                assert_eq!(response.status(), 200);
                head_arrived.notify_one();
                let body = http_body_util::BodyExt::collect(response.into_body()).await;
                assert!(body.is_err(), "a cut response never looks whole");
                assert_eq!(backend.requests.get() - before, 1);
            }
            Ok(())
        },
    );
}

#[test]
fn what_http2_says_was_not_processed_goes_elsewhere_without_any_policy() {
    test(
        "retries::what_http2_says_was_not_processed_goes_elsewhere_without_any_policy",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Http2),
            )?;
            let refuse = |stream: culvert_hbone::TunnelStream| async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            };
            let full = Backend::bytes(&mesh, "full", "web", 10, refuse).await?;
            let good = Backend::named(&mesh, "good", "web", 11).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            for _ in 0..30 {
                assert_eq!(http.get("/").await?.text(), "good");
            }
            assert_eq!(good.requests.get(), 30);
            assert!(
                full.connections.get() > 0,
                "the full one was asked sometimes"
            );
            Ok(())
        },
    );
}
