//! Clients that hold on to connections without using them.

use culvert_proto::waypoint::ListenerProtocol::{Http, Https};
use tokio::io::AsyncWriteExt as _;

use super::{listener, secured};
use crate::backend::{Backend, BodyError, Speaks};
use crate::certificates::ecdsa;
use crate::client::{Http as Client, get};
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
