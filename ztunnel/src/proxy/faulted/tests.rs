//! What comes through a fault, over pipes in memory and sockets.

use std::time::Duration;

use culvert_xds::{Handler as _, Resource, Update};
use futures_util::FutureExt as _;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpListener;

use culvert_proto::node as pb;
use culvert_proto::type_url;

use super::*;
use crate::faults::{Aim, Faults};
use crate::testing::{Mesh, uid, workload};

impl Side for DuplexStream {
    fn reset(&mut self) {}
}

const ALL: u32 = 10_000;

fn put(faults: &Faults, raw: Option<&pb::ConnectionFault>) {
    let name = "FaultPolicy/demo/f";
    let resources = raw.iter().map(|raw| Resource {
        name: name.into(),
        version: "1".into(),
        body: raw.encode_to_vec().into(),
    });
    let update = Update {
        resources: resources.collect(),
        removed: raw.is_none().then(|| name.into()).into_iter().collect(),
        ..Update::default()
    };
    assert_eq!(faults.clone().apply(type_url::CONNECTION_FAULT, update), []);
}

fn policy(change: impl FnOnce(&mut pb::ConnectionFault)) -> (Faults, Strike) {
    let mut raw = pb::ConnectionFault {
        namespace: "demo".into(),
        name: "f".into(),
        workloads: vec![uid("demo", "pod")],
        ..Default::default()
    };
    change(&mut raw);
    let faults = Faults::default();
    put(&faults, Some(&raw));
    let mesh = Mesh::new([workload("demo", "pod").ip("10.0.0.1").into()]);
    let snapshot = mesh.snapshot();
    let pod = snapshot.workload(&uid("demo", "pod")).unwrap();
    let aim = Aim::new(&snapshot, pod, 80, None, None);
    let strike = faults.strike(aim).unwrap();
    (faults, strike)
}

fn throttle(rate: u64) -> impl FnOnce(&mut pb::ConnectionFault) {
    move |raw| {
        raw.throttle = Some(pb::ConnectionThrottle {
            per_ten_thousand: ALL,
            bytes_per_second: rate,
        });
    }
}

/// The application's two ends.
async fn app() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let near = std::net::TcpStream::connect(addr).unwrap();
    near.set_nonblocking(true).unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (TcpStream::from_std(near).unwrap(), far)
}

fn copying(
    client: DuplexStream,
    app: Option<TcpStream>,
    strike: Strike,
) -> impl Future<Output = Outcome> {
    let faulted = Faulted { app, strike };
    watched(client, faulted, Arc::default(), std::future::pending())
}

fn is_injected(outcome: &Outcome) -> bool {
    let error = outcome.error.as_ref().and_then(|error| error.get_ref());
    error
        .and_then(|error| error.downcast_ref::<Denial>())
        .is_some_and(|denial| {
            denial.reason == DenyReason::FaultInjected && denial.policy.as_deref() == Some("demo/f")
        })
}

#[tokio::test]
async fn a_throttle_keeps_its_rate_and_every_byte() {
    let (_faults, strike) = policy(throttle(200_000));
    let (mut client, far) = duplex(64 * 1024);
    let (near, mut served) = app().await;
    let started = std::time::Instant::now();
    let sent: Vec<u8> = (0..120_000u32).map(|i| (i % 251) as u8).collect();
    let said = sent.clone();
    let ask = async move {
        client.write_all(&said).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let serve = async move {
        let mut got = Vec::new();
        served.read_to_end(&mut got).await.unwrap();
        served.write_all(b"thanks").await.unwrap();
        got
    };
    let (outcome, answer, got) = tokio::join!(copying(far, Some(near), strike), ask, serve);
    assert!(got == sent && answer == b"thanks");
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!((outcome.a_to_b, outcome.b_to_a), (120_000, 6));
    // All but the burst of a tenth of a second had to wait for it.
    assert!(started.elapsed() >= Duration::from_millis(490));
}

#[tokio::test]
async fn a_reset_comes_after_the_bytes_that_it_waits_for() {
    let (_faults, strike) = policy(|raw| {
        raw.reset = Some(pb::ConnectionReset {
            per_ten_thousand: ALL,
            after_bytes: 8,
        });
    });
    let (mut client, far) = duplex(1024);
    let (near, mut served) = app().await;
    let ask = async move {
        client.write_all(b"abc").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let serve = async move {
        served.read_exact(&mut [0; 3]).await.unwrap();
        served.write_all(b"12345678").await.unwrap();
        served.read(&mut [0; 1]).await
    };
    let (outcome, answer, ended) = tokio::join!(copying(far, Some(near), strike), ask, serve);
    assert_eq!(answer, b"12345");
    assert!(is_injected(&outcome), "{outcome:?}");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nothing_leaves_a_blackhole_but_by_its_end() {
    let blackhole = |raw: &mut pb::ConnectionFault| {
        raw.blackhole = Some(pb::ConnectionBlackhole {
            per_ten_thousand: ALL,
        });
    };
    let (faults, strike) = policy(blackhole);
    assert!(!strike.dials());
    let (mut client, far) = duplex(16);
    let mut copy = Box::pin(copying(far, None, strike));
    for _ in 0..10 {
        client.write_all(&[7; 16]).await.unwrap();
        assert!(copy.as_mut().now_or_never().is_none());
    }
    put(&faults, None);
    let outcome = copy.await;
    assert!(is_injected(&outcome), "{outcome:?}");
    assert_eq!((outcome.a_to_b, outcome.b_to_a), (0, 0));

    let (_faults, strike) = policy(blackhole);
    let (client, far) = duplex(16);
    drop(client);
    assert!(
        is_injected(&copying(far, None, strike).await),
        "nobody is there"
    );
}

#[tokio::test]
async fn when_the_policy_goes_the_connection_goes_on() {
    let (faults, strike) = policy(|raw| {
        throttle(1)(raw);
        raw.reset = Some(pb::ConnectionReset {
            per_ten_thousand: ALL,
            after_bytes: 1_000_000,
        });
    });
    let (mut client, far) = duplex(1024);
    let (near, mut served) = app().await;
    let ask = async move {
        client.write_all(&vec![1; 2_000_000]).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let serve = async move {
        // What the burst lets through.
        served.read_exact(&mut [0; 1024]).await.unwrap();
        put(&faults, None);
        let mut rest = Vec::new();
        served.read_to_end(&mut rest).await.unwrap();
        rest.len()
    };
    let (outcome, (), rest) = tokio::join!(copying(far, Some(near), strike), ask, serve);
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(rest, 2_000_000 - 1024);
}

#[tokio::test]
async fn an_answer_before_a_reset_is_delivered_although_the_upload_fails() {
    let (_faults, strike) = policy(throttle(1_000_000));
    let (mut client, far) = duplex(64 * 1024);
    let (near, mut served) = app().await;
    served.write_all(b"no").await.unwrap();
    served.reset();
    drop(served);
    client.write_all(&[1; 1000]).await.unwrap();
    let outcome = copying(far, Some(near), strike).await;
    assert!(outcome.error.is_some());
    assert_eq!(outcome.b_to_a, 2);
    let mut answer = [0; 2];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"no");
}
