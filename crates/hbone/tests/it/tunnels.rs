//! Opening streams: who, where to, refused why, and what a drain does.

use crate::support::*;
use bytes::Bytes;
use culvert_hbone::headers::{Baggage, Forwarded, TraceParent};
use culvert_hbone::{
    Authority, ClientError, ConnectError, ConnectHeaders, ConnectRequest, Incoming,
    ResponseHeaders, ServerError, TunnelConfig, client, copy,
};
use culvert_identity::TlsError;
use culvert_policy::DenyReason;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

#[test]
fn both_sides_know_each_other_and_the_headers_arrive() {
    on_core(|| async {
        let mesh = Mesh::new();
        let seen = Rc::new(RefCell::new(None));
        let record = Rc::clone(&seen);
        let baggage = Baggage {
            service: Some("web".into()),
            ..Baggage::default()
        };
        let answer = ResponseHeaders {
            baggage: Some(baggage.clone()),
        };
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            move |incoming| {
                *record.borrow_mut() = Some((
                    incoming.peer.clone(),
                    incoming.peer_addr,
                    incoming.authority.clone(),
                    incoming.headers.clone(),
                ));
                let mut stream = incoming.accept(&answer).unwrap();
                tokio::task::spawn_local(async move {
                    stream.write_all(b"hello").await.unwrap();
                    stream.shutdown().await.unwrap();
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await.unwrap();
                });
            },
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        assert_eq!(tunnel.peer(), &spiffe("server"));
        let headers = ConnectHeaders {
            baggage: Some(baggage.clone()),
            forwarded: Some(Forwarded {
                client: "10.0.0.9:1234".parse().unwrap(),
                host: Some("web.shop".into()),
            }),
            traceparent: Some(TraceParent::random()),
        };
        let authority = Authority::parse("[fd00::2]:8080").unwrap();
        let request = ConnectRequest {
            authority: authority.clone(),
            headers: headers.clone(),
            ahead: bytes::Bytes::new(),
        };
        let (mut stream, answer) = tunnel.connect(request).await.unwrap();
        assert_eq!(answer.baggage, Some(baggage));
        assert_eq!(tunnel.active_streams(), 1);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        stream.shutdown().await.unwrap();
        drop(stream);
        assert_eq!(tunnel.active_streams(), 0);
        let (peer, addr, to, got) = seen.take().unwrap();
        assert_eq!((peer, to, got), (spiffe("client"), authority, headers));
        assert_eq!(addr.ip(), server.addr.ip());
    });
}

#[test]
fn many_streams_echo_at_once() {
    on_core(|| async {
        let mesh = Mesh::new();
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            echo,
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        let streams: Vec<_> = (0..100u32)
            .map(|n| {
                let tunnel = tunnel.clone();
                tokio::task::spawn_local(async move {
                    let (mut stream, _) = tunnel.connect(request("web.shop:80")).await.unwrap();
                    let text = format!("stream {n} ").repeat(1000);
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                    let mut back = String::new();
                    stream.read_to_string(&mut back).await.unwrap();
                    assert_eq!(back, text);
                })
            })
            .collect();
        for stream in streams {
            stream.await.unwrap();
        }
        assert_eq!(*server.connections.borrow(), 1);
    });
}

#[test]
fn a_refusal_says_why() {
    on_core(|| async {
        let mesh = Mesh::new();
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            |incoming| {
                incoming.refuse(401, DenyReason::PolicyDeny, Some("shop/deny-all"));
            },
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        for _ in 0..300 {
            let error = tunnel.connect(request("10.0.0.1:80")).await.unwrap_err();
            let ConnectError::Refused {
                status,
                deny_reason,
                policy,
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!(*status, 401);
            assert_eq!(deny_reason.as_deref(), Some("policy_deny"));
            assert_eq!(policy.as_deref(), Some("shop/deny-all"));
            assert_eq!(error.deny_reason(), DenyReason::PeerRefused);
        }
        assert!(tunnel.is_usable(), "refusals don't wear the tunnel out");
    });
}

#[test]
fn a_connect_that_nobody_takes_is_reset() {
    on_core(|| async {
        let mesh = Mesh::new();
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            drop,
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        let error = tunnel.connect(request("10.0.0.1:80")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tunnel(_)), "{error}");
    });
}

#[test]
fn the_wrong_server_and_no_server() {
    on_core(|| async {
        let mesh = Mesh::new();
        let mut server = serve(&mesh.identity("other").await, TunnelConfig::default(), echo);
        let identity = mesh.identity("client").await;
        let expected = [spiffe("server")];
        let tcp = dial(server.addr).unwrap();
        let error = client::handshake(tcp, &identity.client, &expected, &TunnelConfig::default())
            .await
            .unwrap_err();
        assert_eq!(error.deny_reason(), DenyReason::IdentityUnexpected);
        let ended = server.ended.recv().await.unwrap().unwrap_err();
        assert!(
            matches!(ended, ServerError::Tls(TlsError::Handshake(_))),
            "{ended}"
        );
        let refused = ClientError::from(dial("127.0.0.1:1".parse().unwrap()).unwrap_err());
        assert_eq!(refused.deny_reason(), DenyReason::ConnectFailed);
    });
}

#[test]
fn a_drain_refuses_new_streams_and_lets_open_ones_finish() {
    on_core(|| async {
        let mesh = Mesh::new();
        let mut server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            echo,
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        let (mut stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        stream.write_all(b"before").await.unwrap();
        let mut six = [0; 6];
        stream.read_exact(&mut six).await.unwrap();
        server.drain.start();
        while tunnel.is_usable() {
            tokio::task::yield_now().await;
        }
        let error = tunnel.connect(request("10.0.0.1:80")).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotProcessed), "{error}");
        stream.write_all(b"after").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "after");
        drop(stream);
        server.ended.recv().await.unwrap().unwrap();
    });
}

#[test]
fn the_last_handle_closes_the_tunnel_after_its_streams() {
    on_core(|| async {
        let mesh = Mesh::new();
        let mut server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            echo,
        );
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        let (mut stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        drop(tunnel);
        stream.write_all(b"still here").await.unwrap();
        let mut back = [0; 10];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"still here");
        assert!(server.ended.try_recv().is_err());
        drop(stream);
        server.ended.recv().await.unwrap().unwrap();
    });
}

#[test]
fn what_was_said_already_goes_along_and_the_rest_behind_the_answer() {
    on_core(|| async {
        let mesh = Mesh::new();
        // Less than what was said: a part of it has to wait for the server's window.
        let narrow = TunnelConfig {
            near_stream_window: 100,
            stream_window: 100,
            ..TunnelConfig::default()
        };
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let server = serve(&mesh.identity("server").await, narrow, move |incoming| {
            arrived.send(incoming).unwrap();
        });
        let identity = mesh.identity("client").await;
        let tunnel = tunnel(&server, &identity, &TunnelConfig::default()).await;
        // The server's settings are known from here on.
        let known = tunnel.connect(request("10.0.0.1:80"));
        let mut answer = async || {
            let incoming: Incoming = arrivals.recv().await.unwrap();
            incoming.accept(&ResponseHeaders::default()).unwrap()
        };
        let (known, _) = tokio::join!(known, answer());
        drop(known);
        let first: Bytes = (0..16_384_u32).map(|n| n as u8).collect();
        let mut asked = request("10.0.0.1:80");
        asked.ahead = first.clone();
        let (mut app, inner) = tcp_pair();
        let copied = spawn_local(async move {
            let (stream, _) = tunnel.connect(asked).await.unwrap();
            copy::bidirectional(inner, stream, None).await
        });
        let incoming = arrivals.recv().await.unwrap();
        // Long enough for what may come to have come: all of it is there when the stream is opened.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut stream = incoming.accept(&ResponseHeaders::default()).unwrap();
        let mut said = [0; 1];
        let read = poll_fn(|cx| {
            let mut said = ReadBuf::new(&mut said);
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut said).is_ready())
        });
        assert!(read.await, "it has to be asked for");
        app.write_all(b"more").await.unwrap();
        app.shutdown().await.unwrap();
        let mut all = said.to_vec();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [&first[..], b"more"].concat());
        stream.shutdown().await.unwrap();
        let outcome = copied.await.unwrap();
        assert!(outcome.error.is_none(), "{outcome:?}");
        assert_eq!(
            outcome.a_to_b,
            first.len() as u64 + 4,
            "what went ahead counts"
        );
    });
}
