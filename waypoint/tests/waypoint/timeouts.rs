//! Timeouts: of a request, of a try, of a head.

use std::time::Duration;

use culvert_proto::{type_url, waypoint as pb};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, BodyError, Speaks, response};
use crate::client::{Client, get};
use crate::mesh::test;
use crate::resources::{millis, prefix, route, rule, traffic};

const VIP: &str = "10.96.0.10:80";

/// Answers at once under `/fast`, never elsewhere.
async fn slow(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<crate::backend::Body>, BodyError> {
    if request.uri().path() != "/fast" {
        std::future::pending::<()>().await;
    }
    response(200, "fast")
}

#[test]
fn a_request_without_an_answer_gets_504() {
    test(
        "timeouts::a_request_without_an_answer_gets_504",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, slow).await?;
            let mut whole = rule(vec![prefix("/whole")], &[("web", 1)]);
            whole.request_timeout = millis(150);
            let mut tries = rule(vec![prefix("/try")], &[("web", 1)]);
            tries.backend_request_timeout = millis(100);
            tries.retry = Some(pb::Retry {
                attempts: 2,
                conditions: vec!["per-try-timeout".into()],
                backoff: millis(1),
                ..Default::default()
            });
            let rest = rule(vec![prefix("/fast")], &[("web", 1)]);
            mesh.put(
                type_url::HTTP_ROUTE,
                &route("timeouts", "web", vec![whole, tries, rest]),
            )?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let before = backend.requests.get();
                let answer = http.get("/whole").await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                    (504, Some("request_timeout"))
                );
                assert_eq!(backend.requests.get() - before, 1);
                assert_eq!(http.get("/try").await?.status.as_u16(), 504);
                assert_eq!(
                    backend.requests.get() - before,
                    1 + 3,
                    "each try has its own time"
                );
                assert_eq!(
                    http.get("/fast").await?.status.as_u16(),
                    200,
                    "the connection still serves"
                );
            }
            Ok(())
        },
    );
}

#[test]
fn a_response_that_stalls_is_cut_visibly() {
    test(
        "timeouts::a_response_that_stalls_is_cut_visibly",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let stalls = |_: http::Request<hyper::body::Incoming>| async {
                let first = tokio_stream::iter([Ok::<_, BodyError>(http_body::Frame::data(
                    "begin".into(),
                ))]);
                let frames = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
                Ok(http::Response::new(
                    http_body_util::StreamBody::new(frames).boxed_unsync(),
                ))
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, stalls).await?;
            let policy = pb::TrafficPolicy {
                request_timeout: millis(200),
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("timeout", "web", policy))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let response = http.send(get("/")).await?;
                assert_eq!(response.status(), 200);
                assert!(response.into_body().collect().await.is_err());
            }
            Ok(())
        },
    );
}

#[test]
fn a_head_that_never_ends_is_cut_and_an_idle_connection_is_not() {
    test(
        "timeouts::a_head_that_never_ends_is_cut_and_an_idle_connection_is_not",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let _web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            assert_eq!(http.get("/").await?.status, 200);
            let mut slow = client.connect(VIP).await?;
            slow.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nX-Slow: ")
                .await?;
            let mut rest = Vec::new();
            let cut =
                tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest)).await?;
            assert!(
                cut.is_err() || rest.is_empty(),
                "{}",
                String::from_utf8_lossy(&rest)
            );
            assert_eq!(
                http.get("/").await?.status,
                200,
                "idle for longer than a head may take"
            );
            Ok(())
        },
    );
}
