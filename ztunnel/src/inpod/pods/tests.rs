//! Joining and leaving, in real namespaces.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use culvert_zds::{Workload, WorkloadInfo};

use super::*;
use crate::testing::{Mesh, authority, fresh_netns, in_world, node};

fn workload(name: &str) -> Workload {
    let info = WorkloadInfo {
        name: name.into(),
        namespace: "demo".into(),
        service_account: name.into(),
    };
    Workload {
        uid: name.into(),
        info: Some(info),
        mark: 7,
        addresses: Vec::new(),
    }
}

fn fd(netns: &Netns) -> OwnedFd {
    netns.as_fd().as_fd().try_clone_to_owned().unwrap()
}

/// Ports on which somebody listens in a namespace.
fn listening(netns: &Netns) -> Vec<u16> {
    let read = || {
        ["tcp", "tcp6"]
            .map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap())
    };
    let tables = netns.run(read).unwrap();
    let mut ports: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(port_of_listener)
        .collect();
    ports.sort_unstable();
    ports
}

fn port_of_listener(line: &str) -> Option<u16> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let listens = *fields.get(3)? == "0A";
    let port = fields.get(1)?.rsplit(':').next()?;
    listens.then(|| u16::from_str_radix(port, 16).unwrap())
}

fn wait_for(netns: &Netns, ports: &[u16]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while listening(netns) != ports {
        assert!(
            Instant::now() < deadline,
            "{:?} instead of {ports:?}",
            listening(netns)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

const OURS: [u16; 4] = [15001, 15006, 15008, 15053];

#[test]
fn a_pod_joins_stays_when_named_again_and_leaves() {
    in_world(
        "inpod::pods::tests::a_pod_joins_stays_when_named_again_and_leaves",
        async || {
            let netns = fresh_netns();
            let pods = Pods::new(node(&Mesh::new([]), authority()));
            pods.add(workload("web"), fd(&netns)).unwrap();
            wait_for(&netns, &OURS);
            let first = pods.list()[0].serial();

            pods.add(workload("web"), fd(&netns)).unwrap();
            assert_eq!(
                pods.list()[0].serial(),
                first,
                "nothing changed, so nothing happens"
            );
            pods.keep("web").unwrap();
            assert!(pods.keep("nobody").is_err());

            // Another mark needs other sockets. The old ones close when nobody waits in them.
            pods.add(
                Workload {
                    mark: 8,
                    ..workload("web")
                },
                fd(&netns),
            )
            .unwrap();
            assert_ne!(pods.list()[0].serial(), first);
            wait_for(&netns, &OURS);

            pods.retain(&HashSet::from(["web".to_owned()]));
            assert_eq!(pods.list().len(), 1);
            pods.remove("nobody");
            pods.remove("web");
            wait_for(&netns, &[]);
            assert!(pods.list().is_empty());
        },
    );
}

#[test]
fn a_namespace_is_one_pods_and_a_pod_has_one() {
    in_world(
        "inpod::pods::tests::a_namespace_is_one_pods_and_a_pod_has_one",
        async || {
            let (first, second) = (fresh_netns(), fresh_netns());
            let pods = Pods::new(node(&Mesh::new([]), authority()));
            pods.add(workload("web"), fd(&first)).unwrap();
            let error = pods.add(workload("thief"), fd(&first)).unwrap_err();
            assert!(matches!(error, PodError::SharedNetns { .. }), "{error}");
            let file = std::fs::File::open("/proc/self/status").unwrap();
            let error = pods.add(workload("web"), file.into()).unwrap_err();
            assert!(matches!(error, PodError::Netns { .. }), "{error}");
            wait_for(&first, &OURS);

            // The same pod in another namespace: it was restarted.
            pods.add(workload("web"), fd(&second)).unwrap();
            wait_for(&second, &OURS);
            wait_for(&first, &[]);
            assert_eq!(pods.list().len(), 1);
            pods.retain(&HashSet::new());
            wait_for(&second, &[]);
        },
    );
}
