//! HTTP/2 and gRPC, changes of protocol, copies, and connections that are no HTTP.

use std::rc::Rc;
use std::time::Duration;

use boring::ssl::SslVersion;
use culvert_hbone::TunnelStream;
use culvert_proto::{type_url, waypoint as pb};
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::client::get;
use crate::mesh::PATIENCE;
use crate::outside::handshake;
use crate::resources::{AppProtocol, filter, route, rule, service};
use crate::tls_server::Like;

#[test]
fn the_protocol_is_the_services_and_has_to_be_agreed_on() {
    test(
        "backend_tls::protocols::the_protocol_is_the_services_and_has_to_be_agreed_on",
        |mesh| async move {
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let certificate = authority.server(&[HOST]);
            let client = Client::new(&mesh, "curl").await?;
            let (both, one, two) = (
                &b"\x02h2\x08http/1.1"[..],
                &b"\x08http/1.1"[..],
                &b"\x02h2"[..],
            );
            let refused = (503, "backend_tls");
            for (index, (protocol, http2, alpn, expected, agreed)) in [
                (AppProtocol::Unknown, false, both, (200, ""), "http/1.1"),
                // What the client speaks in plain text says nothing of the server.
                (AppProtocol::Unknown, true, one, (200, ""), "http/1.1"),
                (AppProtocol::Http11, true, both, (200, ""), "http/1.1"),
                (AppProtocol::Http2, false, both, (200, ""), "h2"),
                (AppProtocol::Http2, true, two, (200, ""), "h2"),
                (AppProtocol::Tls, true, both, (200, ""), "http/1.1"),
                // A server without ALPN speaks HTTP/1.1.
                (AppProtocol::Unknown, false, b"", (200, ""), ""),
                (AppProtocol::Http2, true, b"", refused, ""),
                (AppProtocol::Http2, true, one, refused, ""),
                (AppProtocol::Unknown, false, two, refused, ""),
            ]
            .into_iter()
            .enumerate()
            {
                mesh.put(type_url::ADDRESS, &service("web", "10.96.0.10", protocol))?;
                let like = Like {
                    alpn,
                    ..Like::default()
                };
                let server = Server::like(&certificate, &like);
                let at = ("web", u8::try_from(index)? + 10);
                let backend = Backend::secured(&mesh, "web-1", at, true, &server).await?;
                let mut http = if http2 {
                    client.http2(VIP).await?
                } else {
                    client.http1(VIP).await?
                };
                let (status, reason) = asked(&mut http).await?;
                assert_eq!((status, &*reason), expected, "{index}");
                if status == 200 {
                    assert_eq!(server.seen()[0].alpn, agreed, "{index}");
                }
                mesh.remove(type_url::ADDRESS, &backend.pod.uid());
            }
            Ok(())
        },
    );
}

#[test]
fn grpc_is_http2_whatever_the_service_says() {
    test(
        "backend_tls::protocols::grpc_is_http2_whatever_the_service_says",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let server = Server::new(&authority.server(&[HOST]));
            let _backend = Backend::secured(&mesh, "web-1", ("web", 10), true, &server).await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http2(VIP).await?;
            let mut request = get("/demo.Web/Get");
            *request.method_mut() = http::Method::POST;
            let grpc = HeaderValue::from_static("application/grpc");
            request.headers_mut().insert(CONTENT_TYPE, grpc);
            let answer = http.fetch(request).await?;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "web-1"));
            assert_eq!(server.seen()[0].alpn, "h2");
            Ok(())
        },
    );
}

#[test]
fn versions_before_1_2_are_not_spoken() {
    test(
        "backend_tls::protocols::versions_before_1_2_are_not_spoken",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let client = Client::new(&mesh, "curl").await?;
            let refused = (503, "backend_tls".to_owned());
            for (last, (version, expected)) in [
                (SslVersion::TLS1_3, (200, String::new())),
                (SslVersion::TLS1_2, (200, String::new())),
                (SslVersion::TLS1_1, refused),
            ]
            .into_iter()
            .enumerate()
            {
                let like = Like {
                    version: Some(version),
                    ..Like::default()
                };
                let server = Server::like(&authority.server(&[HOST]), &like);
                let at = ("web", u8::try_from(last)? + 10);
                let backend = Backend::secured(&mesh, "web-1", at, true, &server).await?;
                let mut http = client.http1(VIP).await?;
                assert_eq!(asked(&mut http).await?, expected);
                mesh.remove(type_url::ADDRESS, &backend.pod.uid());
            }
            Ok(())
        },
    );
}

/// A pod whose application greets in TLS, then says what it got in capitals.
async fn greeter(mesh: &Mesh, server: &Server, greeting: &'static str) -> Result<Backend> {
    let server = server.clone();
    let serve = move |stream: TunnelStream| {
        let server = server.clone();
        async move {
            let Some(mut stream) = server.accept(stream).await else {
                return;
            };
            drop(stream.write_all(greeting.as_bytes()).await);
            let mut buffer = [0; 100];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let said = buffer[..count].to_ascii_uppercase();
                drop(stream.write_all(&said).await);
            }
            drop(stream.shutdown().await);
        }
    };
    Backend::bytes(mesh, "web-1", "web", 10, serve).await
}

#[test]
fn a_websocket_and_bytes_are_carried_in_tls() {
    test(
        "backend_tls::protocols::a_websocket_and_bytes_are_carried_in_tls",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let server = Server::new(&authority.server(&[HOST]));
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            let _backend = greeter(&mesh, &server, agreed).await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut stream = client.connect(VIP).await?;
            stream
                .write_all(b"GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "));
            stream.write_all(b"later").await?;
            stream.shutdown().await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            let rest = String::from_utf8(rest)?;
            assert!(rest.ends_with("LATER"), "{rest}");
            assert_eq!(server.seen()[0].alpn, "http/1.1");
            // A server that speaks first, at a port that is no HTTP.
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Tcp),
            )?;
            let mut stream = client.connect(VIP).await?;
            let mut greeting = vec![0; agreed.len()];
            stream.read_exact(&mut greeting).await?;
            assert_eq!(greeting, agreed.as_bytes());
            assert_eq!(
                (&*server.seen()[1].name, &*server.seen()[1].alpn),
                (HOST, "")
            );
            // One that cannot be trusted gets nothing, and the client hears of it.
            mesh.backend_tls(&policy("p", 0, trusting(&Authority::new())))?;
            assert!(client.connect(VIP).await.is_err());
            Ok(())
        },
    );
}

#[test]
fn tls_of_the_clients_own_passes_as_it_is() {
    test(
        "backend_tls::protocols::tls_of_the_clients_own_passes_as_it_is",
        |mesh| async move {
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let server = Server::new(&authority.server(&[HOST]));
            let _backend = greeter(&mesh, &server, "hello ").await?;
            let client = Client::new(&mesh, "curl").await?;
            for protocol in [AppProtocol::Unknown, AppProtocol::Tls] {
                mesh.put(type_url::ADDRESS, &service("web", "10.96.0.10", protocol))?;
                let stream = client.connect(VIP).await?;
                let mut stream = handshake(stream, "client.example", b"").await?;
                stream.write_all(b"x").await?;
                let mut said = [0; 7];
                tokio::time::timeout(PATIENCE, stream.read_exact(&mut said)).await??;
                assert_eq!(&said, b"hello X");
            }
            let seen = server.seen();
            assert!(seen.len() == 2 && seen.iter().all(|seen| seen.name == "client.example"));
            Ok(())
        },
    );
}

#[test]
fn copies_are_sent_in_tls_too() {
    test(
        "backend_tls::protocols::copies_are_sent_in_tls_too",
        |mesh| async move {
            mesh.service("front", "10.96.0.11")?;
            mesh.service("web", "10.96.0.10")?;
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let server = Server::new(&authority.server(&[HOST]));
            let copy = Backend::secured(&mesh, "web-1", ("web", 10), true, &server).await?;
            let _front = Backend::named(&mesh, "front-1", "front", 11).await?;
            let target = pb::http_backend::Target::Service(service_ref("web", 80));
            let mirror = pb::Mirror {
                backend: Some(pb::HttpBackend {
                    target: Some(target),
                    weight: 1,
                    filters: Vec::new(),
                }),
                per_ten_thousand: 10_000,
            };
            let filters = vec![filter(pb::http_filter::Kind::Mirror(mirror))];
            let rule = pb::HttpRule {
                filters,
                ..rule(vec![], &[("front", 1)])
            };
            mesh.put(type_url::HTTP_ROUTE, &route("r", "front", vec![rule]))?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1("10.96.0.11:80").await?;
            assert_eq!(http.get("/").await?.text(), "front-1");
            let requests = Rc::clone(&copy.requests);
            tokio::time::timeout(PATIENCE, async move {
                while requests.get() == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await?;
            assert_eq!(server.seen()[0].name, HOST);
            Ok(())
        },
    );
}
