//! Clients that speak HTTP/2, but not as they should.

use crate::support::*;
use bytes::Bytes;
use culvert_hbone::server::{Peer, serve_plain};
use culvert_hbone::{Incoming, ServerError, TunnelConfig};
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{JoinHandle, spawn_local};

struct Plain {
    requests: SendRequest<Bytes>,
    client: JoinHandle<Result<(), h2::Error>>,
    server: JoinHandle<Result<(), ServerError>>,
}

fn serve_on(
    io: DuplexStream,
    on: impl FnMut(Incoming) + 'static,
) -> JoinHandle<Result<(), ServerError>> {
    spawn_local(async move {
        let (_trigger, drain) = no_drain();
        let peer = Peer {
            id: spiffe("client"),
            addr: "10.0.0.9:1234".parse().unwrap(),
        };
        serve_plain(io, peer, &TunnelConfig::default(), &drain, on).await
    })
}

async fn plain(on: impl FnMut(Incoming) + 'static) -> Plain {
    let (a, b) = duplex(1 << 20);
    let server = serve_on(a, on);
    let (requests, connection) = h2::client::handshake(b).await.unwrap();
    Plain {
        requests,
        client: spawn_local(connection),
        server,
    }
}

async fn status(
    requests: &mut SendRequest<Bytes>,
    method: Method,
    uri: &str,
) -> Result<StatusCode, h2::Error> {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let (response, _send) = requests.send_request(request, false)?;
    Ok(response.await?.status())
}

#[test]
fn what_is_no_connect_with_a_canonical_authority_is_answered_400() {
    on_core(|| async {
        let mut plain = plain(|incoming| panic!("{incoming:?} reached the proxy")).await;
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let got = status(&mut plain.requests, method, "https://10.0.0.1/").await;
            assert_eq!(got.unwrap(), StatusCode::BAD_REQUEST);
        }
        for authority in [
            "10.0.0.2",
            "10.0.0.2:0",
            "10.0.0.2:080",
            "10.0.0.2:99999",
            "a@b:80",
            "Web.shop:80",
            "web.shop.:80",
            "[::ffff:10.0.0.2]:80",
            "[FD00::1]:80",
            "[fe80::1%25eth0]:80",
        ] {
            match status(&mut plain.requests, Method::CONNECT, authority).await {
                Ok(status) => assert_eq!(status, StatusCode::BAD_REQUEST, "{authority}"),
                // h2 itself refuses what is no authority at all.
                Err(error) => assert_eq!(
                    error.reason(),
                    Some(h2::Reason::PROTOCOL_ERROR),
                    "{authority}"
                ),
            }
        }
        let huge = format!("{}:80", "a".repeat(60_000));
        let got = status(&mut plain.requests, Method::CONNECT, &huge).await;
        assert!(
            matches!(got, Ok(StatusCode::BAD_REQUEST) | Err(_)),
            "{got:?}"
        );
        assert!(!plain.server.is_finished());
    });
}

#[test]
fn forged_headers_change_no_identity() {
    on_core(|| async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&seen);
        let mut plain = plain(move |incoming: Incoming| {
            record
                .borrow_mut()
                .push((incoming.peer.clone(), incoming.peer_addr));
            incoming.refuse(401, culvert_policy::DenyReason::PolicyDeny, None);
        })
        .await;
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("10.0.0.1:80")
            .header("forwarded", "for=\"10.9.9.9:1\"")
            .header("baggage", "k8s.namespace.name=admin")
            .header(
                "x-forwarded-client-cert",
                "URI=spiffe://cluster.local/ns/a/sa/admin",
            )
            .body(())
            .unwrap();
        let (response, _send) = plain.requests.send_request(request, false).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            *seen.borrow(),
            [(spiffe("client"), "10.0.0.9:1234".parse().unwrap())]
        );
    });
}

fn connect() -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.1:80")
        .body(())
        .unwrap()
}

#[test]
fn a_flood_of_resets_ends_the_connection() {
    on_core(|| async {
        let mut plain = plain(drop).await;
        let flood = async {
            for _ in 0..1000 {
                for _ in 0..100 {
                    let (_response, mut send) = plain.requests.send_request(connect(), false)?;
                    send.send_reset(h2::Reason::CANCEL);
                }
                tokio::task::yield_now().await;
            }
            Ok::<_, h2::Error>(())
        };
        assert!(flood.await.is_err(), "100,000 resets were served");
        let ended = plain.server.await.unwrap().unwrap_err();
        assert!(matches!(ended, ServerError::Http2(_)), "{ended}");
        let client = plain.client.await.unwrap().unwrap_err();
        assert_eq!(
            client.reason(),
            Some(h2::Reason::ENHANCE_YOUR_CALM),
            "{client}"
        );
    });
}

#[test]
fn more_streams_than_allowed_are_refused() {
    on_core(|| async {
        let held = Rc::new(RefCell::new(Vec::new()));
        let hold = Rc::clone(&held);
        let mut plain = plain(move |incoming| hold.borrow_mut().push(incoming)).await;
        let mut streams = Vec::new();
        while plain.requests.current_max_send_streams() > 1000 || streams.len() < 200 {
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri("10.0.0.1:80")
                .body(())
                .unwrap();
            streams.push(plain.requests.send_request(request, false).unwrap());
            tokio::task::yield_now().await;
        }
        assert_eq!(plain.requests.current_max_send_streams(), 200);
        while held.borrow().len() < 200 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn garbage_ends_the_connection() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        on_core(|| async {
            let (a, mut b) = duplex(1 << 20);
            let server = serve_on(a, drop);
            b.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            b.read_to_end(&mut answer).await.unwrap();
            assert!(server.await.unwrap().is_err());
        });
    }
}
