//! Which streams share a tunnel, who dials, and what takes a tunnel out of the pool.

use crate::support::*;
use culvert_hbone::{
    ConnectError, Pool, PoolKey, PoolStats, ResponseHeaders, TunnelConfig, TunnelStream,
};
use culvert_identity::{Identity, SpiffeId};
use culvert_policy::DenyReason;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::spawn_local;

pub(crate) fn key(pod: &str, identity: &str, addr: SocketAddr) -> PoolKey {
    PoolKey {
        source: pod.into(),
        identity: spiffe(identity),
        destination: "the-server".into(),
        addr,
    }
}

struct Fixture {
    mesh: Mesh,
    server: Server,
    pool: Pool,
    identity: Arc<Identity>,
    expected: [SpiffeId; 1],
}

async fn fixture(client: TunnelConfig, server: TunnelConfig) -> Fixture {
    let mesh = Mesh::new();
    let server = serve(&mesh.identity("server").await, server, echo);
    let identity = mesh.identity("client").await;
    Fixture {
        mesh,
        server,
        pool: Pool::new(client),
        identity,
        expected: [spiffe("server")],
    }
}

impl Fixture {
    async fn open(&self, pod: &str) -> Result<TunnelStream, ConnectError> {
        self.open_as(pod, &self.identity).await
    }

    async fn open_as(
        &self,
        pod: &str,
        identity: &Arc<Identity>,
    ) -> Result<TunnelStream, ConnectError> {
        let addr = self.server.addr;
        let key = key(pod, "client", addr);
        let request = request("10.0.0.1:80");
        let opened = self
            .pool
            .connect(&key, async || dial(addr), identity, &self.expected, request)
            .await;
        opened.map(|(stream, _): (_, ResponseHeaders)| stream)
    }

    fn connections(&self) -> usize {
        *self.server.connections.borrow()
    }
}

async fn works(stream: &mut TunnelStream) {
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"ping");
}

#[test]
fn streams_of_one_pod_share_a_tunnel_and_pods_never_do() {
    on_core(|| async {
        let fixture = fixture(TunnelConfig::default(), TunnelConfig::default()).await;
        let mut streams = Vec::new();
        for pod in ["a", "a", "a", "b"] {
            streams.push(fixture.open(pod).await.unwrap());
        }
        for stream in &mut streams {
            works(stream).await;
        }
        assert_eq!(fixture.connections(), 2, "two pods of one identity");
        let stats = PoolStats {
            keys: 2,
            tunnels: 2,
            streams: 4,
            dialing: 0,
        };
        assert_eq!(fixture.pool.stats(), stats);
    });
}

#[test]
fn a_full_tunnel_is_joined_by_another_and_used_again_after_the_peak() {
    on_core(|| async {
        // Our limit, and the server's.
        let small = TunnelConfig {
            client_streams: 3,
            server_streams: 3,
            ..TunnelConfig::default()
        };
        for (client, server) in [
            (small.clone(), TunnelConfig::default()),
            (TunnelConfig::default(), small),
        ] {
            let fixture = fixture(client, server).await;
            let mut streams = Vec::new();
            for _ in 0..7 {
                let mut stream = fixture.open("a").await.unwrap();
                works(&mut stream).await;
                streams.push(stream);
            }
            assert_eq!(fixture.pool.stats().tunnels, 3);
            assert_eq!(fixture.connections(), 3);
            drop(streams);
            for _ in 0..10 {
                works(&mut fixture.open("a").await.unwrap()).await;
            }
            assert_eq!(fixture.connections(), 3, "no new tunnel after the peak");
        }
    });
}

#[test]
fn after_a_peak_streams_are_packed_and_what_runs_empty_is_released() {
    on_core(|| async {
        let client = TunnelConfig {
            client_streams: 4,
            idle: Duration::from_millis(80),
            ..TunnelConfig::default()
        };
        let mut fixture = fixture(client, TunnelConfig::default()).await;
        let mut peak = Vec::new();
        for _ in 0..12 {
            peak.push(fixture.open("a").await.unwrap());
        }
        assert_eq!(fixture.connections(), 3);
        // Of the first tunnel one is left, of the second two, of the third one.
        let mut place = 0..;
        peak.retain(|_| [0, 4, 5, 8].contains(&place.next().unwrap()));
        let mut second = vec![
            fixture.open("a").await.unwrap(),
            fixture.open("a").await.unwrap(),
        ];
        second.extend(peak.drain(1..3));
        drop(peak);
        for _ in 0..2 {
            fixture.server.ended.recv().await.unwrap().unwrap();
        }
        assert_eq!(fixture.pool.stats().tunnels, 1);
        assert_eq!(fixture.pool.stats().streams, 4);
        for stream in &mut second {
            works(stream).await;
        }
    });
}

#[test]
fn small_streams_keep_away_from_one_that_moves_much() {
    on_core(|| async {
        // So little that any machine moves it in time.
        let client = TunnelConfig {
            crowd: 200_000,
            ..TunnelConfig::default()
        };
        let fixture = fixture(client, TunnelConfig::default()).await;
        let (mut read, mut write) = tokio::io::split(fixture.open("a").await.unwrap());
        let bulk = spawn_local(async move { while write.write_all(&[7; 65_536]).await.is_ok() {} });
        let mut arrived = vec![0; 65_536];
        let mut others = Vec::new();
        while fixture.connections() < 2 {
            for _ in 0..200 {
                read.read_exact(&mut arrived).await.unwrap();
            }
            others.push(fixture.open("a").await.unwrap());
            assert!(others.len() < 100, "all in the crowded tunnel");
        }
        for _ in 0..5 {
            for _ in 0..200 {
                read.read_exact(&mut arrived).await.unwrap();
            }
            works(&mut fixture.open("a").await.unwrap()).await;
        }
        assert_eq!(fixture.connections(), 2, "small ones share a tunnel");
        bulk.abort();
    });
}

#[test]
fn a_burst_dials_once() {
    on_core(|| async {
        let fixture = Rc::new(fixture(TunnelConfig::default(), TunnelConfig::default()).await);
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let fixture = Rc::clone(&fixture);
                spawn_local(async move {
                    let mut stream = fixture.open("a").await.unwrap();
                    works(&mut stream).await;
                    stream
                })
            })
            .collect();
        let mut streams = Vec::new();
        for task in tasks {
            streams.push(task.await.unwrap());
        }
        assert_eq!(fixture.connections(), 1);
        assert_eq!(fixture.pool.stats().streams, 100);
        drop(streams);
    });
}

#[test]
fn a_failed_dial_fails_those_who_waited_and_nobody_else() {
    on_core(|| async {
        let fixture = Rc::new(fixture(TunnelConfig::default(), TunnelConfig::default()).await);
        let (dials, fail) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (fixture, dials, fail) =
                    (Rc::clone(&fixture), Rc::clone(&dials), Rc::clone(&fail));
                spawn_local(async move {
                    let key = key("a", "client", fixture.server.addr);
                    let dial = async || {
                        dials.set(dials.get() + 1);
                        fail.notified().await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    };
                    let request = request("10.0.0.1:80");
                    fixture
                        .pool
                        .connect(&key, dial, &fixture.identity, &fixture.expected, request)
                        .await
                        .map(|_| ())
                })
            })
            .collect();
        while dials.get() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(fixture.pool.stats().dialing, 1);
        fail.notify_one();
        for task in tasks {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error.deny_reason(), DenyReason::ConnectFailed);
        }
        assert_eq!(dials.get(), 1);
        works(&mut fixture.open("a").await.unwrap()).await;
    });
}

#[test]
fn who_waits_for_a_dialler_that_gives_up_dials_itself() {
    on_core(|| async {
        let fixture = Rc::new(fixture(TunnelConfig::default(), TunnelConfig::default()).await);
        let first = Rc::clone(&fixture);
        let first = spawn_local(async move {
            let key = key("a", "client", first.server.addr);
            let dial = async || std::future::pending().await;
            let _ = first
                .pool
                .connect(
                    &key,
                    dial,
                    &first.identity,
                    &first.expected,
                    request("10.0.0.1:80"),
                )
                .await;
        });
        while fixture.pool.stats().dialing == 0 {
            tokio::task::yield_now().await;
        }
        let second = Rc::clone(&fixture);
        let second = spawn_local(async move { works(&mut second.open("a").await.unwrap()).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!second.is_finished());
        first.abort();
        second.await.unwrap();
    });
}

#[test]
fn after_rotation_new_streams_use_the_new_certificate() {
    on_core(|| async {
        let fixture = fixture(TunnelConfig::default(), TunnelConfig::default()).await;
        let mut old = fixture.open("a").await.unwrap();
        works(&mut old).await;
        let renewed = fixture.mesh.reissued("client").await;
        assert!(renewed.generation > fixture.identity.generation);
        let mut new = fixture.open_as("a", &renewed).await.unwrap();
        works(&mut new).await;
        assert_eq!(fixture.connections(), 2);
        assert_eq!(
            fixture.pool.stats().tunnels,
            1,
            "the old tunnel takes no more"
        );
        works(&mut old).await;
        // A caller that still holds the old identity uses the newer tunnel.
        works(&mut fixture.open("a").await.unwrap()).await;
        assert_eq!(fixture.connections(), 2);
    });
}

#[test]
fn eviction_and_drain_let_open_streams_finish() {
    on_core(|| async {
        let fixture = fixture(TunnelConfig::default(), TunnelConfig::default()).await;
        let mut one = fixture.open("a").await.unwrap();
        fixture.pool.evict("somebody-else");
        assert_eq!(fixture.pool.stats().tunnels, 1);
        fixture.pool.evict("the-server");
        assert_eq!(fixture.pool.stats(), PoolStats::default());
        works(&mut one).await;
        let mut two = fixture.open("a").await.unwrap();
        assert_eq!(fixture.connections(), 2);
        fixture.pool.evict("a");
        assert_eq!(
            fixture.pool.stats(),
            PoolStats::default(),
            "by its source, too"
        );
        let _three = fixture.open("a").await.unwrap();
        fixture.pool.drain();
        assert!(matches!(
            fixture.open("a").await,
            Err(ConnectError::Draining)
        ));
        works(&mut one).await;
        works(&mut two).await;
    });
}

#[test]
fn idle_tunnels_are_released_and_busy_ones_kept() {
    on_core(|| async {
        let client = TunnelConfig {
            idle: Duration::from_millis(80),
            ..TunnelConfig::default()
        };
        let mut fixture = fixture(client, TunnelConfig::default()).await;
        let mut busy = fixture.open("a").await.unwrap();
        drop(fixture.open("b").await.unwrap());
        fixture.server.ended.recv().await.unwrap().unwrap();
        assert_eq!(
            fixture.pool.stats(),
            PoolStats {
                keys: 1,
                tunnels: 1,
                streams: 1,
                dialing: 0
            }
        );
        works(&mut busy).await;
        drop(busy);
        fixture.server.ended.recv().await.unwrap().unwrap();
        assert_eq!(fixture.pool.stats(), PoolStats::default());
    });
}

#[test]
fn a_tunnel_to_somebody_else_is_not_used() {
    on_core(|| async {
        let mut fixture = fixture(TunnelConfig::default(), TunnelConfig::default()).await;
        let _open = fixture.open("a").await.unwrap();
        fixture.expected = [spiffe("other")];
        let error = fixture.open("a").await.unwrap_err();
        assert_eq!(error.deny_reason(), DenyReason::IdentityUnexpected);
    });
}

#[test]
fn a_server_that_drains_is_left_for_a_new_tunnel() {
    on_core(|| async {
        let fixture = fixture(TunnelConfig::default(), TunnelConfig::default()).await;
        let mut old = fixture.open("a").await.unwrap();
        works(&mut old).await;
        let (mesh, addr) = (&fixture.mesh, fixture.server.addr);
        fixture.server.drain.start();
        // The next server of the same workload, as during an upgrade.
        let next = serve(
            &mesh.identity("server").await,
            TunnelConfig::default(),
            echo,
        );
        let key = key("a", "client", addr);
        let dial = async || dial(next.addr);
        // What was said already goes along again.
        let mut request = request("10.0.0.1:80");
        request.ahead = "hello".into();
        let opened = fixture
            .pool
            .connect(&key, dial, &fixture.identity, &fixture.expected, request)
            .await;
        let (mut stream, _) = opened.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        works(&mut stream).await;
        works(&mut old).await;
    });
}

/// Opens streams and uses them until `server` has seen so many connections; says how many streams there were.
async fn until_connections(fixture: &Fixture, count: usize) -> usize {
    let mut streams = 0;
    let deadline = tokio::time::Instant::now() + SOON;
    while fixture.connections() < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} connections",
            fixture.connections()
        );
        works(&mut fixture.open("a").await.unwrap()).await;
        streams += 1;
    }
    streams
}

#[test]
fn an_old_tunnel_is_left_for_a_new_one_and_ends_with_its_streams() {
    on_core(|| async {
        let client = TunnelConfig {
            client_age: Some(Duration::from_millis(60)),
            // Looked for four times as often.
            idle: SOON / 50,
            ..TunnelConfig::default()
        };
        let mut fixture = fixture(client, TunnelConfig::default()).await;
        let mut first = fixture.open("a").await.unwrap();
        works(&mut first).await;
        // Not a stream fails, and many share each tunnel.
        let streams = until_connections(&fixture, 5).await;
        assert!(streams > 20, "{streams}");
        // The tunnels in between had no stream left; the first one has.
        for _ in 0..3 {
            fixture.server.ended.recv().await.unwrap().unwrap();
        }
        works(&mut first).await;
        assert!(fixture.pool.stats().tunnels <= 1);
        drop(first);
        for _ in 0..2 {
            fixture.server.ended.recv().await.unwrap().unwrap();
        }
        assert_eq!(
            fixture.pool.stats(),
            PoolStats::default(),
            "old ones don't stay for being idle"
        );
    });
}

#[test]
fn a_server_sends_old_tunnels_away_and_loses_nothing() {
    on_core(|| async {
        let client = TunnelConfig {
            client_age: None,
            ..TunnelConfig::default()
        };
        let server = TunnelConfig {
            server_age: Some(Duration::from_millis(60)),
            ..TunnelConfig::default()
        };
        let mut fixture = fixture(client, server).await;
        let mut first = fixture.open("a").await.unwrap();
        works(&mut first).await;
        let streams = until_connections(&fixture, 5).await;
        assert!(streams > 20, "{streams}");
        for _ in 0..3 {
            fixture.server.ended.recv().await.unwrap().unwrap();
        }
        // What was open at the GOAWAY is open for as long as its ends like.
        works(&mut first).await;
        drop(first);
        fixture.server.ended.recv().await.unwrap().unwrap();
    });
}

#[test]
fn many_at_once_notice_nothing_of_rotation() {
    on_core(|| async {
        let client = TunnelConfig {
            client_age: Some(Duration::from_millis(90)),
            client_streams: 8,
            ..TunnelConfig::default()
        };
        let server = TunnelConfig {
            server_age: Some(Duration::from_millis(50)),
            ..TunnelConfig::default()
        };
        let fixture = Rc::new(fixture(client, server).await);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let fixture = Rc::clone(&fixture);
                spawn_local(async move { until_connections(&fixture, 40).await })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap() > 0);
        }
    });
}
