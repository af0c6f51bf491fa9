//! Whom a policy strikes and whom not, how often, and when it lets go.

use std::time::{Duration, SystemTime};

use culvert_proto::node as pb;
use culvert_proto::waypoint::{FaultDelay, FaultTerm, ServiceRef};
use culvert_xds::Resource;
use futures_util::FutureExt as _;
use prost::Message as _;

use super::*;
use crate::testing::{Mesh, service, uid, workload};

const ALL: u32 = 10_000;
const WEB: &str = "demo/web.demo.svc.cluster.local";
const API: &str = "demo/api.demo.svc.cluster.local";

/// One pod that is an endpoint of `web`, ports 80 and 90 to 8080 and 9090, and of `api`, port 81 to 8081.
fn mesh() -> Mesh {
    Mesh::new([
        workload("demo", "pod")
            .ip("10.0.0.1")
            .of(WEB)
            .of(API)
            .into(),
        service("demo", "web").port(80, 8080).port(90, 9090).into(),
        service("demo", "api").port(81, 8081).into(),
        service("demo", "twin").port(80, 8080).into(),
    ])
}

fn aim(mesh: &Mesh, port: u16, service: Option<&str>, peer: Option<&str>) -> Aim {
    let snapshot = mesh.snapshot();
    let pod = snapshot.workload(&uid("demo", "pod")).unwrap();
    let service = service.map(|key| &**snapshot.service(key).unwrap());
    let peer = peer.map(|name| {
        format!("spiffe://cluster.local/ns/demo/sa/{name}")
            .parse()
            .unwrap()
    });
    Aim::new(&snapshot, pod, port, service, peer)
}

fn target(service: &str, port: u32) -> ServiceRef {
    ServiceRef {
        service: service.into(),
        port,
    }
}

/// A policy `demo/f` that resets all to port 80 of `web`.
fn to_web() -> pb::ConnectionFault {
    pb::ConnectionFault {
        namespace: "demo".into(),
        name: "f".into(),
        targets: vec![target(WEB, 80)],
        reset: Some(pb::ConnectionReset {
            per_ten_thousand: ALL,
            after_bytes: 0,
        }),
        ..Default::default()
    }
}

fn put(faults: &Faults, raw: &pb::ConnectionFault) -> Vec<Rejected> {
    let resource = Resource {
        name: format!("FaultPolicy/{}/{}", raw.namespace, raw.name).into(),
        version: "1".into(),
        body: raw.encode_to_vec().into(),
    };
    faults.clone().apply(
        type_url::CONNECTION_FAULT,
        Update {
            resources: vec![resource],
            ..Update::default()
        },
    )
}

fn remove(faults: &Faults, name: &str) {
    let removed = vec![format!("FaultPolicy/demo/{name}").into()];
    let update = Update {
        removed,
        ..Update::default()
    };
    assert!(
        faults
            .clone()
            .apply(type_url::CONNECTION_FAULT, update)
            .is_empty()
    );
}

fn with(raw: &pb::ConnectionFault) -> Faults {
    let faults = Faults::default();
    assert_eq!(put(&faults, raw), []);
    faults
}

#[test]
fn only_those_aimed_at_are_struck() {
    let mesh = mesh();
    let web = with(&to_web());
    let strikes = |faults: &Faults, port, service, peer| {
        faults.strike(aim(&mesh, port, service, peer)).is_some()
    };
    assert!(strikes(&web, 8080, Some(WEB), Some("a")));
    assert!(!strikes(&web, 9090, Some(WEB), Some("a")), "another port");
    assert!(
        !strikes(&web, 8081, Some(API), Some("a")),
        "another service"
    );
    assert!(
        !strikes(&web, 8080, Some(API), Some("a")),
        "not by that service"
    );
    assert!(!strikes(&web, 7, None, Some("a")), "a port of no service");
    assert!(strikes(&web, 8080, None, None), "plain text to the port");

    let every_port = with(&pb::ConnectionFault {
        targets: vec![target(WEB, 0)],
        ..to_web()
    });
    assert!(strikes(&every_port, 9090, None, None));
    assert!(!strikes(&every_port, 8081, None, None));

    let from_a = with(&pb::ConnectionFault {
        principals: vec!["cluster.local/ns/demo/sa/a".into()],
        ..to_web()
    });
    assert!(strikes(&from_a, 8080, Some(WEB), Some("a")));
    assert!(!strikes(&from_a, 8080, Some(WEB), Some("ab")));
    assert!(
        !strikes(&from_a, 8080, Some(WEB), None),
        "who proved nothing is nobody"
    );

    let by_workload = |uid: String| {
        with(&pb::ConnectionFault {
            targets: Vec::new(),
            workloads: vec![uid],
            ..to_web()
        })
    };
    assert!(strikes(&by_workload(uid("demo", "pod")), 7, None, None));
    assert!(!strikes(
        &by_workload(uid("demo", "other")),
        8080,
        None,
        None
    ));
}

#[test]
fn what_cannot_be_told_apart_is_not_struck() {
    let twin = "demo/twin.demo.svc.cluster.local";
    let mesh = mesh();
    let both = workload("demo", "pod").ip("10.0.0.1").of(WEB).of(twin);
    mesh.put(both.into());
    let web = with(&to_web());
    assert!(web.strike(aim(&mesh, 8080, Some(WEB), None)).is_some());
    assert!(web.strike(aim(&mesh, 8080, Some(twin), None)).is_none());
    assert!(web.strike(aim(&mesh, 8080, None, None)).is_none());
    let all = with(&pb::ConnectionFault {
        targets: vec![target(WEB, 80), target(twin, 0)],
        ..to_web()
    });
    assert!(all.strike(aim(&mesh, 8080, None, None)).is_some());
}

#[test]
fn shares_are_kept_and_none_and_all_are_exact() {
    let mesh = mesh();
    for (share, low, high) in [(0, 0, 0), (ALL, 10_000, 10_000), (3000, 2725, 3275)] {
        let faults = with(&pb::ConnectionFault {
            reset: Some(pb::ConnectionReset {
                per_ten_thousand: share,
                after_bytes: 5,
            }),
            ..to_web()
        });
        let struck =
            (0..10_000).filter(|_| faults.strike(aim(&mesh, 8080, Some(WEB), None)).is_some());
        // Six standard deviations are 275.
        let struck = struck.count();
        assert!((low..=high).contains(&struck), "{share}: {struck}");
    }
}

#[test]
fn kinds_are_shaped_together_and_named() {
    let mesh = mesh();
    let faults = with(&pb::ConnectionFault {
        delay: Some(FaultDelay {
            fixed: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            per_ten_thousand: ALL,
            ..Default::default()
        }),
        reset: Some(pb::ConnectionReset {
            per_ten_thousand: ALL,
            after_bytes: 5,
        }),
        throttle: Some(pb::ConnectionThrottle {
            per_ten_thousand: ALL,
            bytes_per_second: 1000,
        }),
        ..to_web()
    });
    let strike = faults.strike(aim(&mesh, 8080, None, None)).unwrap();
    assert_eq!(
        &*strike.label(),
        "delay:demo/f,reset:demo/f,throttle:demo/f"
    );
    let shape = strike.shape();
    assert_eq!((shape.reset_after, shape.throttle), (Some(5), Some(1000)));
    assert!(strike.dials() && !shape.blackhole);
    let nothing = pb::ConnectionFault {
        name: "g".into(),
        blackhole: Some(pb::ConnectionBlackhole {
            per_ten_thousand: ALL,
        }),
        reset: None,
        ..to_web()
    };
    assert_eq!(put(&faults, &nothing), []);
    let strike = faults.strike(aim(&mesh, 8080, None, None)).unwrap();
    assert_eq!(&*strike.label(), "delay:demo/f,blackhole:demo/g");
    assert!(!strike.dials());
    let metrics = culvert_runtime::metrics::encode();
    let line = "culvert_connection_faults_total{kind=\"blackhole\",policy=\"demo/g\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let dump = serde_json::to_string(&faults.views()).unwrap();
    assert!(
        dump.contains("\"name\":\"demo/g\"") && dump.contains("\"seconds_left\":null"),
        "{dump}"
    );
}

#[tokio::test]
async fn a_change_lets_go_of_whom_it_does_not_strike_any_more() {
    let mesh = mesh();
    let after = |bytes| pb::ConnectionFault {
        reset: Some(pb::ConnectionReset {
            per_ten_thousand: ALL,
            after_bytes: bytes,
        }),
        ..to_web()
    };
    type Change<'a> = &'a dyn Fn(&Faults);
    let changes: [(Change<'_>, bool); 5] = [
        (&|faults| drop(put(faults, &after(9))), false),
        (&|faults| drop(put(faults, &after(8))), true),
        (&|faults| remove(faults, "f"), true),
        (
            &|faults| {
                let other = pb::ConnectionFault {
                    targets: vec![target(API, 0)],
                    ..after(9)
                };
                put(faults, &other);
            },
            true,
        ),
        (
            &|faults| {
                let more = pb::ConnectionFault {
                    targets: vec![target(API, 0), target(WEB, 0)],
                    ..after(9)
                };
                put(faults, &more);
            },
            false,
        ),
    ];
    for (index, (change, lets_go)) in changes.into_iter().enumerate() {
        let faults = with(&after(9));
        let strike = faults.strike(aim(&mesh, 8080, Some(WEB), None)).unwrap();
        let mut lapse = Box::pin(strike.lapse());
        assert!(lapse.as_mut().now_or_never().is_none());
        change(&faults);
        let rest = lapse.as_mut().now_or_never();
        assert_eq!(rest.is_some(), lets_go, "change {index}");
        assert!(rest.is_none_or(|rest| !rest.shapes()));
    }
}

#[tokio::test]
async fn a_policy_ends_by_itself() {
    let mesh = mesh();
    let not_after = SystemTime::now() + Duration::from_secs(3600);
    let lasts = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    let raw = pb::ConnectionFault {
        term: Some(FaultTerm {
            not_after: Some(not_after.into()),
            lasts,
        }),
        ..to_web()
    };
    let faults = with(&raw);
    // The clock says an hour, which is longer than it lasts.
    let end = faults.end(&faults.0.table.borrow()).unwrap();
    assert!(end <= Instant::now() + Duration::from_secs(60));
    assert!(faults.views()[0].seconds_left.unwrap() <= 60);
    // Told again, changed: it ends when it would have.
    let changed = pb::ConnectionFault {
        targets: vec![target(WEB, 0)],
        ..raw.clone()
    };
    put(&faults, &changed);
    assert_eq!(faults.end(&faults.0.table.borrow()), Some(end));
    assert!(faults.any());
    let over = pb::ConnectionFault {
        term: Some(FaultTerm {
            not_after: Some((SystemTime::now() - Duration::from_secs(1)).into()),
            lasts,
        }),
        ..raw
    };
    let strike = faults.strike(aim(&mesh, 8080, None, None)).unwrap();
    put(&faults, &over);
    assert!(!faults.any() && faults.views().is_empty());
    assert!(faults.strike(aim(&mesh, 8080, None, None)).is_none());
    assert!(!strike.lapse().await.shapes());
}

#[test]
fn nonsense_is_refused_and_what_was_good_stays() {
    let faults = with(&to_web());
    let refused = |change: fn(&mut pb::ConnectionFault)| {
        let mut raw = to_web();
        change(&mut raw);
        let rejected = put(&faults, &raw);
        rejected.into_iter().map(|r| r.error).collect::<String>()
    };
    assert_eq!(
        refused(|raw| raw.throttle = Some(pb::ConnectionThrottle::default())),
        "throttle.bytes_per_second: is zero"
    );
    assert_eq!(
        refused(|raw| raw.reset.as_mut().unwrap().per_ten_thousand = 10_001),
        "reset.per_ten_thousand: 10001 is more than 10000"
    );
    assert_eq!(
        refused(|raw| raw.delay = Some(FaultDelay::default())),
        "delay.fixed: is missing"
    );
    assert_eq!(
        refused(|raw| raw.principals = vec!["spiffe://a".into()]),
        "principals: holds what is no name without scheme"
    );
    assert_eq!(
        refused(|raw| raw.term = Some(FaultTerm::default())),
        "term.not_after: is missing"
    );
    assert!(faults.strike(aim(&mesh(), 8080, Some(WEB), None)).is_some());
}
