//! Bytes from application to application: ends, resets, order, volume, backpressure.

use crate::support::*;
use culvert_hbone::{ResponseHeaders, TunnelConfig, copy};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

async fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(|_| bytes)
}

fn reset(stream: TcpStream) {
    culvert_runtime::net::set_reset_on_close(&stream).unwrap();
    drop(stream);
}

#[test]
fn the_client_ends_first_and_still_gets_its_answer() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.client.write_all(b"question").await.unwrap();
        flow.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut flow.server).await.unwrap(), b"question");
        flow.server.write_all(b"a long answer").await.unwrap();
        drop(flow.server);
        assert_eq!(read_all(&mut flow.client).await.unwrap(), b"a long answer");
        let (client, server) = (
            flow.client_copy.await.unwrap(),
            flow.server_copy.await.unwrap(),
        );
        assert!(
            client.error.is_none() && server.error.is_none(),
            "{client:?} {server:?}"
        );
        assert_eq!((client.a_to_b, client.b_to_a), (8, 13));
        assert_eq!((server.a_to_b, server.b_to_a), (13, 8));
    });
}

#[test]
fn the_server_speaks_and_ends_first() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.server.write_all(b"220 ready").await.unwrap();
        flow.server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut flow.client).await.unwrap(), b"220 ready");
        flow.client.write_all(b"thanks").await.unwrap();
        flow.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut flow.server).await.unwrap(), b"thanks");
        assert!(flow.client_copy.await.unwrap().error.is_none());
        assert!(flow.server_copy.await.unwrap().error.is_none());
        assert_eq!(flow.tunnel.active_streams(), 0);
    });
}

#[test]
fn a_connection_without_a_byte() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut flow.server).await.unwrap(), b"");
        drop(flow.server);
        assert_eq!(read_all(&mut flow.client).await.unwrap(), b"");
        let client = flow.client_copy.await.unwrap();
        assert!(client.error.is_none());
        assert_eq!((client.a_to_b, client.b_to_a), (0, 0));
    });
}

#[test]
fn a_reset_of_either_side_resets_the_other() {
    for client_resets in [true, false] {
        on_core(|| async {
            let flow = end_to_end(TunnelConfig::default(), None).await;
            let (one, mut other) = if client_resets {
                (flow.client, flow.server)
            } else {
                (flow.server, flow.client)
            };
            other.write_all(b"unread").await.unwrap();
            one.readable().await.unwrap();
            reset(one);
            let error = read_all(&mut other).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(flow.client_copy.await.unwrap().error.is_some());
            assert!(flow.server_copy.await.unwrap().error.is_some());
        });
    }
}

#[test]
fn a_copy_that_is_dropped_resets_both_sides() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.client.write_all(b"x").await.unwrap();
        let mut x = [0; 1];
        flow.server.read_exact(&mut x).await.unwrap();
        flow.client_copy.abort();
        for end in [&mut flow.client, &mut flow.server] {
            assert_eq!(
                read_all(end).await.unwrap_err().kind(),
                io::ErrorKind::ConnectionReset
            );
        }
    });
}

#[test]
fn a_tunnel_that_breaks_resets_its_streams() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig::default();
        let identity = mesh.identity("server").await;
        // The path between the two proxies can be cut.
        let server = serve(&identity, config.clone(), echo);
        let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        relay.set_nonblocking(true).unwrap();
        let through = relay.local_addr().unwrap();
        let relay = tokio::net::TcpListener::from_std(relay).unwrap();
        let there = server.addr;
        let relaying = spawn_local(async move {
            let (one, _) = relay.accept().await.unwrap();
            culvert_runtime::copy::bidirectional(one, dial(there).unwrap(), None).await
        });
        let client = mesh.identity("client").await;
        let tcp = dial(through).unwrap();
        let expected = [spiffe("server")];
        let tunnel =
            culvert_hbone::client::handshake(tcp, &client.client, &expected, &config).await;
        let (stream, _) = tunnel
            .unwrap()
            .connect(request("10.0.0.1:80"))
            .await
            .unwrap();
        let (mut app, inner) = tcp_pair();
        let copying = spawn_local(copy::bidirectional(inner, stream, None));
        app.write_all(b"ping").await.unwrap();
        let mut pong = [0; 4];
        app.read_exact(&mut pong).await.unwrap();
        relaying.abort();
        let error = read_all(&mut app).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(copying.await.unwrap().error.is_some());
    });
}

#[test]
fn a_reset_after_the_peers_end_is_noticed() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.server.shutdown().await.unwrap();
        assert_eq!(read_all(&mut flow.client).await.unwrap(), b"");
        reset(flow.server);
        // The server's copy only writes from here on: it learns of the reset by writing.
        let error = loop {
            if let Err(error) = flow.client.write_all(&[0; 1024]).await {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            "{error}"
        );
        assert!(flow.server_copy.await.unwrap().error.is_some());
    });
}

#[test]
fn what_a_server_answered_before_it_refused_the_rest_arrives() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), None).await;
        flow.client.write_all(&[1; 1000]).await.unwrap();
        let mut some = [0; 1000];
        flow.server.read_exact(&mut some).await.unwrap();
        flow.server.write_all(b"413 too large").await.unwrap();
        drop(flow.server);
        let mut answer = [0; 13];
        flow.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"413 too large");
    });
}

#[test]
fn an_idle_copy_ends() {
    on_core(|| async {
        let mut flow = end_to_end(TunnelConfig::default(), Some(Duration::from_millis(100))).await;
        let outcome = flow.client_copy.await.unwrap();
        assert_eq!(outcome.error.unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(read_all(&mut flow.server).await.is_err());
    });
}

#[test]
fn a_stopped_copy_moves_nothing_more() {
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
        let (stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        let (mut app, inner) = tcp_pair();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let progress = std::sync::Arc::new(culvert_runtime::copy::Progress::default());
        let seen = progress.clone();
        let copying = spawn_local(async move {
            let stop = Box::pin(async {
                stopped.await.unwrap();
                io::Error::other("policy changed")
            });
            copy::watched(inner, stream, None, progress, stop).await
        });
        app.write_all(b"ping").await.unwrap();
        let mut pong = [0; 4];
        app.read_exact(&mut pong).await.unwrap();
        assert_eq!(seen.get(), (4, 4));
        stop.send(()).unwrap();
        let outcome = copying.await.unwrap();
        assert_eq!(outcome.error.unwrap().to_string(), "policy changed");
        assert_eq!(
            read_all(&mut app).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    });
}

/// Bytes that tell any loss, repetition or exchange.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_large_transfer_both_ways_at_once() {
    on_core(|| async {
        let flow = end_to_end(TunnelConfig::default(), None).await;
        let size = 48 << 20;
        let move_all = |stream: TcpStream, seed: u64, expect: u64| async move {
            let (mut read, mut write) = stream.into_split();
            let sent = pattern(size, seed);
            let send = async move {
                // Pieces of every size, also tiny ones.
                let mut rest = &sent[..];
                let mut piece = 1;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece.min(rest.len()));
                    write.write_all(now).await.unwrap();
                    rest = later;
                    piece = piece * 3 % 300_007 + 1;
                }
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(send, read.read_to_end(&mut got));
            read.unwrap();
            assert!(got == pattern(size, expect), "the bytes differ");
        };
        tokio::join!(move_all(flow.client, 1, 2), move_all(flow.server, 2, 1));
        let outcome = flow.client_copy.await.unwrap();
        assert!(outcome.error.is_none());
        assert_eq!((outcome.a_to_b, outcome.b_to_a), (size as u64, size as u64));
    });
}

const WINDOW: u32 = 1 << 20;

#[test]
fn a_reader_that_stands_still_does_not_stop_its_siblings() {
    on_core(|| async {
        let mesh = Mesh::new();
        let config = TunnelConfig {
            near_stream_window: WINDOW,
            stream_window: WINDOW,
            ..TunnelConfig::default()
        };
        let (stuck_tx, mut stuck) = mpsc::unbounded_channel();
        let server = serve(
            &mesh.identity("server").await,
            config.clone(),
            move |incoming| {
                if incoming.authority.port() == 1 {
                    stuck_tx
                        .send(incoming.accept(&ResponseHeaders::default()).unwrap())
                        .unwrap();
                } else {
                    echo(incoming);
                }
            },
        );
        let tunnel = tunnel(&server, &*mesh.identity("client").await, &config).await;
        let (mut standing, _) = tunnel.connect(request("10.0.0.1:1")).await.unwrap();
        let _unread = stuck.recv().await.unwrap();
        // The window is there to be used up, and then no more goes, however long one tries.
        let block = vec![0; 64 * 1024];
        let mut sent = 0;
        while sent < WINDOW as usize {
            standing.write_all(&block).await.unwrap();
            sent += block.len();
        }
        let patience = Duration::from_millis(100);
        while let Ok(written) = tokio::time::timeout(patience, standing.write_all(&block)).await {
            written.unwrap();
            sent += block.len();
            let most = WINDOW as usize + config.send_buffer + block.len();
            assert!(sent <= most, "{sent} bytes went without a reader");
        }
        let (mut stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        let question = vec![7; 1 << 20];
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let mut answer = vec![0; question.len()];
        let (wrote, got) = tokio::join!(write.write_all(&question), read.read_exact(&mut answer));
        wrote.unwrap();
        got.unwrap();
        assert_eq!(answer, question);
    });
}

#[test]
fn futures_of_idle_connections_are_small() {
    on_core(|| async {
        let mesh = Mesh::new();
        let server = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            echo,
        );
        let identity = mesh.identity("client").await;
        let tunnel = tunnel(&server, &identity, &TunnelConfig::default()).await;
        let (stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
        let (_app, inner) = tcp_pair();
        let copying = copy::bidirectional(inner, stream, None);
        let size = std::mem::size_of_val(&copying);
        assert!(size <= 640, "the copy of a stream has {size} bytes");
        let connecting = tunnel.connect(request("10.0.0.1:80"));
        let size = std::mem::size_of_val(&connecting);
        assert!(size <= 1152, "opening a stream has {size} bytes");
        let pool = culvert_hbone::Pool::new(TunnelConfig::default());
        let key = crate::pool::key("pod", "client", server.addr);
        let expected = [spiffe("server")];
        let pooled = pool.connect(
            &key,
            async || dial(server.addr),
            &identity,
            &expected,
            request("10.0.0.1:80"),
        );
        let size = std::mem::size_of_val(&pooled);
        assert!(
            size <= 2560,
            "opening a stream by the pool has {size} bytes"
        );
        let (_, drain) = no_drain();
        let (tcp, _peer) = tcp_pair();
        let config = TunnelConfig::default();
        let serving = culvert_hbone::server::serve(tcp, &identity.server, &config, &drain, drop);
        let size = std::mem::size_of_val(&serving);
        assert!(size <= 4096, "a tunnel's server has {size} bytes");
    });
}
