//! Bytes that two readers could split differently: answered 400, and the backend sees nothing of them.

use culvert_proto::type_url;

use crate::backend::{Backend, Speaks, response};
use crate::client::Client;
use crate::mesh::test;
use crate::resources::{AppProtocol, service};

const VIP: &str = "10.96.0.10:80";
/// What must never be seen as a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web\r\n\r\n";

/// Starts a backend that counts, behind a service that says it speaks HTTP/1.1.
async fn counting(mesh: &crate::mesh::Mesh) -> anyhow::Result<Backend> {
    mesh.put(
        type_url::ADDRESS,
        &service("web", "10.96.0.10", AppProtocol::Http11),
    )?;
    let answer = |request: http::Request<hyper::body::Incoming>| async move {
        assert_ne!(
            request.uri().path(),
            "/hidden",
            "a hidden request came through"
        );
        let path = request.uri().path().to_owned();
        drop(http_body_util::BodyExt::collect(request.into_body()).await);
        response(200, path)
    };
    Backend::start(mesh, "web-1", "web", 10, Speaks::Http1, answer).await
}

#[test]
fn ambiguous_heads_get_400_and_the_connection_ends() {
    test(
        "smuggling::ambiguous_heads_get_400_and_the_connection_ends",
        |mesh| async move {
            let backend = counting(&mesh).await?;
            let client = Client::new(&mesh, "curl").await?;
            let head = |lines: &str| format!("POST /a HTTP/1.1\r\nHost: web\r\n{lines}\r\n");
            let cases = [
                head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
                head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
                head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello",
                head("Content-Length: 5, 5\r\n") + "hello",
                head("Content-Length: +5\r\n") + "hello",
                head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n",
                head("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n",
                head("Transfer-Encoding:\u{b}chunked\r\n") + "0\r\n\r\n",
                head("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n",
                head("X: a\r\n Transfer-Encoding: chunked\r\n"),
                head("X: a\nTransfer-Encoding: chunked\r\n"),
                head("X\r: a\r\n"),
                "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
                "GET /a HTTP/1.1\r\n\r\n".to_owned(),
                "GET /a HTTP/1.1\r\nHost: web\r\nHost: other\r\n\r\n".to_owned(),
                "GET /a HTTP/1.1\r\nHost: web,other\r\n\r\n".to_owned(),
                "GET /a HTTP/1.1\r\nHost: user@web\r\n\r\n".to_owned(),
                "GET http://other/a HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET http://web/a HTTP/1.1\r\n\r\n".to_owned(),
                "GET ftp://web/a HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n".to_owned(),
                "GET /a#b HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET /a%00 HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET /a/../b HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET /a/%2e%2E/b HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET a HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET * HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET /\u{e4} HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET  /a HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
                "GET /a HTTP/1.1\nHost: web\r\n\r\n".to_owned(),
                head("Connection: Host\r\n"),
                head("Connection: content-length\r\nContent-Length: 0\r\n"),
            ];
            for case in &cases {
                let answer = client.raw(VIP, (case.clone() + HIDDEN).as_bytes()).await?;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{case:?}: {answer:?}");
                assert_eq!(
                    answer.matches("HTTP/1.").count(),
                    1,
                    "the connection ends: {case:?}: {answer:?}"
                );
            }
            assert_eq!(backend.requests.get(), 0);
            let counted = format!(
                "culvert_waypoint_refused_total{{reason=\"malformed_request\"}} {}",
                cases.len()
            );
            let metrics = culvert_runtime::metrics::encode();
            assert!(metrics.contains(&counted), "{metrics}");
            Ok(())
        },
    );
}

#[test]
fn bad_chunks_get_400_and_hide_nothing() {
    test(
        "smuggling::bad_chunks_get_400_and_hide_nothing",
        |mesh| async move {
            let _backend = counting(&mesh).await?;
            let client = Client::new(&mesh, "curl").await?;
            for chunks in [
                "zz\r\n",
                "5 \r\nhello\r\n0\r\n\r\n",
                "-1\r\n",
                "0x5\r\nhello\r\n0\r\n\r\n",
                "FFFFFFFFFFFFFFFFF\r\n",
                "5\nhello\r\n0\r\n\r\n",
                "5\r\nhelloXX0\r\n\r\n",
                "5;a\nb\r\nhello\r\n0\r\n\r\n",
                "0\r\nX: 1\r\n folded\r\n\r\n",
            ] {
                let case = format!(
                    "POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}"
                );
                let answer = client.raw(VIP, case.as_bytes()).await?;
                assert!(
                    answer.starts_with("HTTP/1.1 400 "),
                    "{chunks:?}: {answer:?}"
                );
                assert_eq!(
                    answer.matches("HTTP/1.").count(),
                    1,
                    "{chunks:?}: {answer:?}"
                );
            }
            Ok(())
        },
    );
}

#[test]
fn good_requests_before_a_bad_one_are_answered_in_order() {
    test(
        "smuggling::good_requests_before_a_bad_one_are_answered_in_order",
        |mesh| async move {
            let backend = counting(&mesh).await?;
            let client = Client::new(&mesh, "curl").await?;
            let pipeline = "GET /1 HTTP/1.1\r\nHost: web\r\n\r\n\
             POST /2 HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello\
             POST /3 HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
             GET /4 HTTP/1.1\r\nHost: web\r\nX: 1\r\n folded\r\n\r\n";
            let answer = client
                .raw(VIP, (pipeline.to_owned() + HIDDEN).as_bytes())
                .await?;
            let statuses: Vec<_> = answer
                .match_indices("HTTP/1.1 ")
                .filter_map(|(at, _)| answer.get(at + 9..at + 12))
                .collect();
            assert_eq!(statuses, ["200", "200", "200", "400"], "{answer}");
            assert_eq!(backend.requests.get(), 3);
            Ok(())
        },
    );
}

#[test]
fn the_backend_gets_the_very_path_and_one_canonical_host() {
    test(
        "smuggling::the_backend_gets_the_very_path_and_one_canonical_host",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Http11),
            )?;
            let echo = |request: http::Request<hyper::body::Incoming>| async move {
                let host = request
                    .headers()
                    .get_all("host")
                    .iter()
                    .map(|h| h.to_str().unwrap_or("?"))
                    .collect::<Vec<_>>();
                let secret = request.headers().contains_key("x-secret");
                response(
                    200,
                    format!("<{}> <{}> {secret}", request.uri(), host.join("|")),
                )
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Http1, echo).await?;
            let client = Client::new(&mesh, "curl").await?;
            for (target, host, expected) in [
                (
                    "/a//b;x=1/%2F%5C?q=/../#".trim_end_matches('#'),
                    "WEB.Demo",
                    "</a//b;x=1/%2F%5C?q=/../> <web.demo>",
                ),
                ("/%41", "web.demo.:8080", "</%41> <web.demo:8080>"),
                ("http://web.demo/abs?x", "Web.demo", "</abs?x> <web.demo>"),
            ] {
                let request = format!(
                    "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n\r\n"
                );
                let answer = client.raw(VIP, request.as_bytes()).await?;
                assert!(
                    answer.ends_with(&format!("{expected} false")),
                    "{target}: {answer}"
                );
            }
            Ok(())
        },
    );
}

#[test]
fn http2_requests_follow_the_same_rules() {
    test(
        "smuggling::http2_requests_follow_the_same_rules",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = Backend::named(&mesh, "web-1", "web", 10).await?;
            let mut http = Client::new(&mesh, "curl").await?.http2(VIP).await?;
            for path in ["/a/../b", "/a%00", "/a%zz", "/..;/b"] {
                let answer = http.get(path).await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                    (400, Some("malformed_request"))
                );
            }
            let crate::client::Http::Two(sender) = &mut http else {
                anyhow::bail!("not HTTP/2")
            };
            let mut request = crate::client::get("http://web.demo/");
            *request.version_mut() = http::Version::HTTP_2;
            request.headers_mut().insert("host", "other.demo".parse()?);
            assert_eq!(sender.send_request(request).await?.status().as_u16(), 400);
            assert_eq!(backend.requests.get(), 0);
            assert_eq!(http.get("/a").await?.status.as_u16(), 200);
            Ok(())
        },
    );
}
