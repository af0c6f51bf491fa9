//! Clients that hold on to connections without using them.

use culvert_proto::waypoint::ListenerProtocol::{Http, Https};
use tokio::io::AsyncWriteExt as _;

use super::{listener, secured};
use crate::backend::{Backend, Body, BodyError, Speaks, response};
use crate::certificates::ecdsa;
use crate::client::{Http as Client, get, post};
use crate::mesh::{PATIENCE, test};
use crate::outside::{self, of};

#[test]
fn silence_and_slowness_end() {
    test(
        "gateway::bounds::silence_and_slowness_end",
        |mesh| async move {
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.listeners(vec![
                listener("http", 8000, Http, ""),
                secured(listener("https", 8443, Https, ""), "one"),
            ])?;
            // Nothing at all; a request that never ends; HTTP/2 without a request; a handshake that never ends, from the
            // start or half way.
            for (port, bytes) in [
                (8000, &b""[..]),
                (8000, b"GET / HT"),
                (8000, b"GET / HTTP/1.1\r\nHost: a\r\n"),
                (
                    8000,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
                ),
                (8443, b""),
                (8443, b"\x16\x03\x01\x02\x00\x01\x00"),
            ] {
                let mut stream = outside::tcp(port).await?;
                stream.write_all(bytes).await?;
                drop(outside::end(&mut stream).await?);
            }
            // A handshake that the client does not finish, and a connection without a request.
            let _quiet = outside::tls(8443, "one.example", b"").await?;
            let gone = async {
                while mesh.cores.connections() != [0, 0] {
                    tokio::task::yield_now().await;
                }
            };
            Ok(tokio::time::timeout(PATIENCE, gone).await?)
        },
    );
}

#[test]
fn a_connection_may_rest_between_requests_and_not_for_ever() {
    test(
        "gateway::bounds::a_connection_may_rest_between_requests_and_not_for_ever",
        |mesh| async move {
            mesh.listeners(vec![listener("http", 8000, Http, "")])?;
            for version in [1, 2] {
                let mut http = match version {
                    1 => outside::http1(8000).await?,
                    _ => outside::http2(8000).await?,
                };
                assert_eq!(http.get("/").await?.status, 404);
                // Longer than a client may be silent at the start.
                tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
                assert_eq!(http.get("/").await?.status, 404);
                let gone = async {
                    while mesh.cores.connections() != [0, 0] {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(PATIENCE, gone).await?;
                assert!(http.get("/").await.is_err());
            }
            Ok(())
        },
    );
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    test(
        "gateway::bounds::a_client_that_takes_nothing_is_let_go",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let endless = |_: ::http::Request<hyper::body::Incoming>| async {
                let frame = || Ok::<_, BodyError>(http_body::Frame::data(vec![7; 65_536].into()));
                let frames = tokio_stream::iter(std::iter::repeat_with(frame));
                let body = http_body_util::StreamBody::new(frames);
                Ok(::http::Response::new(
                    http_body_util::BodyExt::boxed_unsync(body),
                ))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, endless).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.listeners(vec![
                listener("http", 8000, Http, ""),
                secured(listener("https", 8443, Https, ""), "one"),
            ])?;
            mesh.attach("http", "http", &[], "web")?;
            mesh.attach("https", "https", &[], "web")?;
            let mut plain = outside::http1(8000).await?;
            let secure = outside::tls(8443, "one.example", b"").await?;
            let mut secure = Client::one(secure).await?;
            let _plain = plain.send(get("/")).await?;
            let _secure = secure.send(of("one.example", "/")).await?;
            let gone = async {
                while mesh.cores.connections() != [0, 0] {
                    tokio::task::yield_now().await;
                }
            };
            Ok(tokio::time::timeout(PATIENCE, gone).await?)
        },
    );
}

#[test]
fn handshakes_that_are_too_many_are_refused_and_the_others_end_well() {
    test(
        "gateway::bounds::handshakes_that_are_too_many_are_refused_and_the_others_end_well",
        |mesh| async move {
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.listeners(vec![
                secured(listener("https", 8443, Https, ""), "one"),
                listener("http", 8000, Http, ""),
            ])?;
            // Of each of the two cores as many as it may have.
            let mut waiting = Vec::new();
            for _ in 0..8 {
                waiting.push(outside::tcp(8443).await?);
            }
            let full = async {
                while mesh.cores.connections() != [4, 4] {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, full).await?;
            let mut newest = outside::tcp(8443).await?;
            assert!(outside::end(&mut newest).await?.is_err(), "reset");
            // Who needs none is served, and those that wait get on.
            assert_eq!(outside::http1(8000).await?.get("/").await?.status, 404);
            for tcp in waiting.drain(..) {
                let stream = outside::handshake(tcp, "one.example", b"").await?;
                let mut http = Client::one(stream).await?;
                assert_eq!(http.fetch(of("one.example", "/")).await?.status, 404);
            }
            // Places were given back, also by those whose connections are still open.
            assert!(outside::tls(8443, "one.example", b"").await.is_ok());
            Ok(())
        },
    );
}

/// A body of which one byte comes, and then nothing.
fn stuck() -> Body {
    let first = tokio_stream::iter([Ok(http_body::Frame::data("x".into()))]);
    let frames = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
    http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(frames))
}

#[test]
fn a_body_that_does_not_go_on_ends_the_request() {
    test(
        "gateway::bounds::a_body_that_does_not_go_on_ends_the_request",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let reading = |request: ::http::Request<hyper::body::Incoming>| async {
                let body = http_body_util::BodyExt::collect(request.into_body()).await?;
                response(200, format!("{} bytes", body.to_bytes().len()))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, reading).await?;
            mesh.listeners(vec![listener("http", 8000, Http, "")])?;
            mesh.attach("web", "http", &[], "web")?;
            for mut http in [outside::http1(8000).await?, outside::http2(8000).await?] {
                let answer = http.fetch(post("/", stuck())).await?;
                let reason = answer.header("culvert-deny-reason");
                assert_eq!(
                    (answer.status.as_u16(), reason),
                    (408, Some("idle_timeout"))
                );
            }
            // Slow, and longer in all than a client may be silent, is not silent.
            let bytes = tokio_stream::iter(0..5);
            let slowly = tokio_stream::StreamExt::then(bytes, |_| async {
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                Ok(http_body::Frame::data("x".into()))
            });
            let body = http_body_util::StreamBody::new(slowly);
            let body = http_body_util::BodyExt::boxed_unsync(body);
            let answer = outside::http2(8000).await?.fetch(post("/", body)).await?;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "5 bytes"));
            Ok(())
        },
    );
}

#[test]
fn nobody_waits_for_a_client_whose_backend_reads_nothing_and_grpc_may_rest() {
    test(
        "gateway::bounds::nobody_waits_for_a_client_whose_backend_reads_nothing_and_grpc_may_rest",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            // Longer than a client may be silent nothing is read, then all of it.
            let late = |request: ::http::Request<hyper::body::Incoming>| async {
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
                let body = http_body_util::BodyExt::collect(request.into_body()).await?;
                response(200, format!("{} bytes", body.to_bytes().len()))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, late).await?;
            mesh.listeners(vec![listener("http", 8000, Http, "")])?;
            mesh.attach("web", "http", &[], "web")?;
            let frame = || Ok::<_, BodyError>(http_body::Frame::data(vec![7; 65_536].into()));
            let frames = tokio_stream::iter(std::iter::repeat_with(frame).take(128));
            let body = http_body_util::StreamBody::new(frames);
            let body = http_body_util::BodyExt::boxed_unsync(body);
            let answer = outside::http1(8000).await?.fetch(post("/", body)).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, "8388608 bytes")
            );
            let bytes = tokio_stream::iter(0..2);
            let resting = tokio_stream::StreamExt::then(bytes, |_| async {
                tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
                Ok(http_body::Frame::data("x".into()))
            });
            let body = http_body_util::StreamBody::new(resting);
            let body = http_body_util::BodyExt::boxed_unsync(body);
            let mut call = post("/", body);
            let kind = "application/grpc".parse()?;
            call.headers_mut().insert("content-type", kind);
            let answer = outside::http2(8000).await?.fetch(call).await?;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "2 bytes"));
            Ok(())
        },
    );
}
