//! Changes of protocol: tunnelled when the backend agrees, never a way to hide a request when it does not.

use std::cell::RefCell;
use std::rc::Rc;

use culvert_proto::type_url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, Speaks, response};
use crate::client::Client;
use crate::mesh::test;
use crate::resources::{AppProtocol, service};

const VIP: &str = "10.96.0.10:80";
const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The head of a response, read byte by byte.
async fn head(stream: &mut culvert_hbone::TunnelStream) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(seen)?)
}

#[test]
fn a_websocket_is_tunnelled_with_what_came_early() {
    test(
        "upgrade::a_websocket_is_tunnelled_with_what_came_early",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Http11),
            )?;
            let before = Rc::new(RefCell::new(Vec::new()));
            let seen = Rc::clone(&before);
            let agree = move |mut stream: culvert_hbone::TunnelStream| {
                let seen = Rc::clone(&seen);
                async move {
                    let Ok(asked) = head(&mut stream).await else {
                        return;
                    };
                    // Nothing of what the client sent early may be here before the answer.
                    let early = tokio::time::timeout(
                        std::time::Duration::from_millis(200),
                        stream.read_u8(),
                    )
                    .await;
                    seen.borrow_mut().push((asked, early.is_ok()));
                    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome ";
                    drop(stream.write_all(agreed).await);
                    let mut buffer = [0; 100];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        drop(
                            stream
                                .write_all(&buffer[..count].to_ascii_uppercase())
                                .await,
                        );
                    }
                    drop(stream.shutdown().await);
                }
            };
            let _backend = Backend::bytes(&mesh, "web-1", "web", 10, agree).await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut stream = client.connect(VIP).await?;
            stream.write_all(format!("{ASK}early ").as_bytes()).await?;
            let answer = head(&mut stream).await?;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(
                answer.to_ascii_lowercase().contains("upgrade: websocket"),
                "{answer}"
            );
            stream.write_all(b"later").await?;
            stream.shutdown().await?;
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await?;
            assert_eq!(rest, "welcome EARLY LATER");
            let before = before.borrow();
            let (asked, early) = before.first().expect("one connection");
            assert!(
                asked.to_ascii_lowercase().contains("upgrade: websocket"),
                "{asked}"
            );
            assert!(!early, "bytes arrived before the backend agreed");
            Ok(())
        },
    );
}

#[test]
fn a_refused_change_hides_no_request() {
    test(
        "upgrade::a_refused_change_hides_no_request",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Http11),
            )?;
            let refuse = |request: http::Request<hyper::body::Incoming>| async move {
                assert_ne!(request.uri().path(), "/hidden");
                response(200, "no websocket here")
            };
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Http1, refuse).await?;
            let client = Client::new(&mesh, "curl").await?;
            for protocol in ["websocket", "h2c"] {
                let ask = ASK.replace("websocket", protocol);
                let hidden = "GET /hidden HTTP/1.1\r\nHost: web\r\n\r\n";
                let answer = client.raw(VIP, format!("{ask}{hidden}").as_bytes()).await?;
                assert!(
                    answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("no websocket here"),
                    "{answer}"
                );
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
            }
            assert_eq!(backend.requests.get(), 2);
            Ok(())
        },
    );
}

#[test]
fn a_change_that_nobody_asked_for_is_an_error() {
    test(
        "upgrade::a_change_that_nobody_asked_for_is_an_error",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Http11),
            )?;
            let impose = |mut stream: culvert_hbone::TunnelStream| async move {
                drop(head(&mut stream).await);
                let imposed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
                drop(stream.write_all(imposed).await);
            };
            let _backend = Backend::bytes(&mesh, "web-1", "web", 10, impose).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(http.get("/").await?.status.as_u16(), 503);
            Ok(())
        },
    );
}
