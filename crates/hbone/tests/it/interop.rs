//! Against the h2 crate, which ztunnels of other makes are built on, at either end: many streams at once, windows and
//! buffers of every size, bytes exact.

use crate::support::*;
use bytes::Bytes;
use culvert_hbone::server::{Peer, serve_plain};
use culvert_hbone::{TunnelConfig, client};
use http::{Method, Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::spawn_local;

/// One schedule.
#[derive(Debug, Clone)]
struct Schedule {
    /// Bytes that the transport holds.
    pipe: usize,
    window: u32,
    connection_window: u32,
    frame: u32,
    /// What each stream sends and expects back, in pieces of this size.
    streams: Vec<(usize, usize)>,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let size = prop_oneof![Just(0usize), 1usize..100, 1usize..300_000];
    let piece = prop_oneof![1usize..20, 1usize..70_000];
    let stream = (size, piece).prop_map(|(size, piece)| (size, piece.max(size / 2000)));
    (
        prop_oneof![1usize..200, 1000usize..1_000_000],
        prop_oneof![500u32..5000, 60_000u32..4_000_000],
        65_535u32..1_000_000,
        16_384u32..1_000_000,
        proptest::collection::vec(stream, 1..20),
    )
        .prop_map(
            |(pipe, window, connection_window, frame, streams)| Schedule {
                pipe,
                window,
                connection_window,
                frame,
                streams,
            },
        )
}

fn config(schedule: &Schedule) -> TunnelConfig {
    TunnelConfig {
        near_stream_window: schedule.window,
        stream_window: schedule.window,
        connection_window: schedule.connection_window,
        frame_size: schedule.frame,
        ..TunnelConfig::default()
    }
}

fn pattern(stream: usize, size: usize) -> Vec<u8> {
    let byte = |n: usize| (((n + 1) * (stream + 7) * 2_654_435_761) >> 13) as u8;
    (0..size).map(byte).collect()
}

/// Sends all of it as windows allow, in pieces, and ends.
async fn send_all(mut send: h2::SendStream<Bytes>, bytes: Vec<u8>, piece: usize) {
    let mut rest = Bytes::from(bytes);
    while !rest.is_empty() {
        send.reserve_capacity(piece.min(rest.len()));
        let granted = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
        let n = granted.unwrap().unwrap().min(piece).min(rest.len());
        send.send_data(rest.split_to(n), false).unwrap();
    }
    send.send_data(Bytes::new(), true).unwrap();
}

async fn receive_all(mut recv: h2::RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(data) = recv.data().await {
        let data = data.unwrap();
        recv.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    bytes
}

async fn h2_client(schedule: Schedule) {
    let (near, far) = duplex(schedule.pipe);
    let config = config(&schedule);
    spawn_local(async move {
        let (_trigger, drain) = no_drain();
        let peer = Peer {
            id: spiffe("client"),
            addr: "10.0.0.9:1234".parse().unwrap(),
        };
        serve_plain(far, peer, &config, &drain, echo).await.unwrap();
    });
    let handshake = h2::client::Builder::new()
        .initial_window_size(schedule.window)
        .initial_connection_window_size(schedule.connection_window)
        .max_frame_size(schedule.frame)
        .handshake::<_, Bytes>(near);
    let (requests, connection) = handshake.await.unwrap();
    let driven = spawn_local(connection);
    let mut tasks = Vec::new();
    for (n, (size, piece)) in schedule.streams.into_iter().enumerate() {
        let mut requests = requests.clone();
        tasks.push(spawn_local(async move {
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri("10.0.0.1:80");
            let request = request
                .header("baggage", "k8s.namespace.name=shop")
                .body(())
                .unwrap();
            let (response, send) = requests.send_request(request, false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let sent = pattern(n, size);
            let (got, ()) = tokio::join!(
                receive_all(response.into_body()),
                send_all(send, sent.clone(), piece)
            );
            assert!(got == sent, "stream {n}");
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    drop(requests);
    driven.await.unwrap().unwrap();
}

async fn h2_server(schedule: &Schedule, io: DuplexStream) {
    let handshake = h2::server::Builder::new()
        .initial_window_size(schedule.window)
        .initial_connection_window_size(schedule.connection_window)
        .max_frame_size(schedule.frame)
        .max_concurrent_streams(7)
        .handshake::<_, Bytes>(io);
    let mut connection = handshake.await.unwrap();
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request.unwrap();
        assert_eq!(request.method(), Method::CONNECT);
        spawn_local(async move {
            let send = respond.send_response(Response::new(()), false).unwrap();
            let mut send = send;
            let mut recv = request.into_body();
            while let Some(data) = recv.data().await {
                let mut data = data.unwrap();
                recv.flow_control().release_capacity(data.len()).unwrap();
                while !data.is_empty() {
                    send.reserve_capacity(data.len());
                    let granted = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                    let n = granted.unwrap().unwrap().min(data.len());
                    send.send_data(data.split_to(n), false).unwrap();
                }
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
    }
}

async fn our_client(schedule: Schedule) {
    let (near, far) = duplex(schedule.pipe);
    let tunnel = client::over_plain(near, spiffe("server"), &config(&schedule));
    let for_server = schedule.clone();
    let server = spawn_local(async move { h2_server(&for_server, far).await });
    let mut tasks = Vec::new();
    for (n, (size, piece)) in schedule.streams.into_iter().enumerate() {
        let tunnel = tunnel.clone();
        tasks.push(spawn_local(async move {
            // Beyond seven streams at once the server may refuse: that is to be tried again.
            let stream = loop {
                match tunnel.connect(request("10.0.0.1:80")).await {
                    Ok((stream, _)) => break stream,
                    Err(culvert_hbone::ConnectError::NotProcessed) => {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            let (mut read, mut write) = tokio::io::split(stream);
            let sent = pattern(n, size);
            let send = async {
                for piece in sent.chunks(piece) {
                    write.write_all(piece).await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (read, ()) = tokio::join!(read.read_to_end(&mut got), send);
            read.unwrap();
            assert!(got == sent, "stream {n}");
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(tunnel.active_streams(), 0);
    drop(tunnel);
    server.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_h2_client_is_served(schedule in schedule()) {
        on_core(|| h2_client(schedule));
    }

    #[test]
    fn an_h2_server_serves(schedule in schedule()) {
        on_core(|| our_client(schedule));
    }
}
