//! Peers that stop half way: each wait has an end.

use crate::support::*;
use culvert_hbone::server::{Peer, serve_plain};
use culvert_hbone::{ClientError, ConnectError, ServerError, TunnelConfig, client};
use culvert_identity::TlsError;
use culvert_policy::DenyReason;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, duplex};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_client_that_never_speaks() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            handshake: SHORT,
            ..TunnelConfig::default()
        };
        let mut server = serve(&mesh.identity("server").await, config, echo);
        let _silent = dial(server.addr).unwrap();
        let ended = server.ended.recv().await.unwrap().unwrap_err();
        assert!(
            matches!(ended, ServerError::Tls(TlsError::Timeout)),
            "{ended}"
        );
        assert_eq!(ended.deny_reason(), DenyReason::HandshakeTimeout);
        let mut half = dial(server.addr).unwrap();
        half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        let ended = server.ended.recv().await.unwrap().unwrap_err();
        assert!(
            matches!(ended, ServerError::Tls(TlsError::Timeout)),
            "{ended}"
        );
    });
}

#[test]
fn a_client_that_never_sends_its_preface() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            handshake: SHORT,
            ..TunnelConfig::default()
        };
        let mut server = serve(&mesh.identity("server").await, config, echo);
        let identity = mesh.identity("client").await;
        let _tls = identity
            .client
            .connect(dial(server.addr).unwrap(), &[spiffe("server")])
            .await
            .unwrap();
        let ended = server.ended.recv().await.unwrap().unwrap_err();
        assert!(matches!(ended, ServerError::Timeout(_)), "{ended}");
    });
}

#[test]
fn a_client_that_never_sends_a_connect() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            connect: SHORT,
            ..TunnelConfig::default()
        };
        let mut server = serve(&mesh.identity("server").await, config.clone(), echo);
        let tunnel = tunnel(&server, &*mesh.identity("client").await, &config).await;
        let ended = server.ended.recv().await.unwrap().unwrap_err();
        assert!(matches!(ended, ServerError::Timeout(_)), "{ended}");
        while tunnel.is_usable() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_server_that_never_shakes_hands() {
    on_core(|| async {
        let mesh = Mesh::new();
        let identity = mesh.identity("client").await;
        let config = TunnelConfig {
            handshake: SHORT,
            ..TunnelConfig::default()
        };
        let (tcp, _silent) = tcp_pair();
        let error = client::handshake(tcp, &identity.client, &[spiffe("server")], &config)
            .await
            .unwrap_err();
        assert_eq!(error.deny_reason(), DenyReason::HandshakeTimeout);
        assert!(matches!(error, ClientError::Tls(TlsError::Timeout)));
    });
}

#[test]
fn a_server_that_never_answers_a_connect() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            connect: SHORT,
            ..TunnelConfig::default()
        };
        let held = RefCell::new(Vec::new());
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            move |incoming| {
                held.borrow_mut().push(incoming);
            },
        );
        let tunnel = tunnel(&server, &*mesh.identity("client").await, &config).await;
        let error = tunnel.connect(request("10.0.0.1:80")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout), "{error}");
        assert_eq!(tunnel.active_streams(), 0);
    });
}

#[test]
fn a_connection_without_streams_is_closed_in_order() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            connect: SHORT,
            idle: SHORT / 2,
            ..TunnelConfig::default()
        };
        let mut server = serve(&mesh.identity("server").await, config, echo);
        let tunnel = tunnel(
            &server,
            &*mesh.identity("client").await,
            &TunnelConfig::default(),
        )
        .await;
        let (stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        tokio::time::sleep(SHORT * 3).await;
        assert!(
            server.ended.try_recv().is_err(),
            "an open stream is no idleness"
        );
        drop(stream);
        server.ended.recv().await.unwrap().unwrap();
    });
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    on_core(|| async {
        let config = TunnelConfig {
            ping_interval: SHORT,
            ping_timeout: SHORT,
            ..TunnelConfig::default()
        };
        let (a, mut b) = duplex(1 << 20);
        let (_trigger, drain) = no_drain();
        let peer = Peer {
            id: spiffe("client"),
            addr: "10.0.0.9:1234".parse().unwrap(),
        };
        // A preface and empty SETTINGS, and then nothing, although what the server sends is accepted.
        b.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let ended = serve_plain(a, peer, &config, &drain, drop)
            .await
            .unwrap_err();
        assert!(matches!(ended, ServerError::Gone), "{ended}");
    });
}

#[test]
fn a_live_peer_keeps_its_idle_stream() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            ping_interval: SHORT / 4,
            ping_timeout: SHORT,
            ..TunnelConfig::default()
        };
        let connects = Rc::new(RefCell::new(0));
        let count = Rc::clone(&connects);
        let mut server = serve(
            &mesh.identity("server").await,
            config.clone(),
            move |incoming| {
                *count.borrow_mut() += 1;
                echo(incoming);
            },
        );
        let tunnel = tunnel(&server, &*mesh.identity("client").await, &config).await;
        let (_stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        tokio::time::sleep(SHORT * 6).await;
        assert!(tunnel.is_usable());
        assert!(server.ended.try_recv().is_err());
        assert_eq!(*connects.borrow(), 1);
    });
}
