//! What a workload takes of a proxy's memory, as the kernel counts it under the allocator that the proxies have: the
//! first response with all of a mesh, and after that mesh was replaced bit by bit.
//!
//! Each size is measured in a process of its own, whose allocator gives back at once what is free, so that the figures
//! are the same on any machine and at any load.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use culvert_proto::ads::{self, DeltaDiscoveryResponse};
use culvert_proto::istio::workload as proto;
use culvert_proto::type_url::ADDRESS;
use culvert_xds::Store;
use culvert_xds::protocol::Machine;
use culvert_xds::state::Settings;
use prost::Message as _;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As a ztunnel has it, but that nothing is kept for a while.
const SETTINGS: &str = "narenas:1,tcache:false,thp:never,dirty_decay_ms:0,muzzy_decay_ms:0";
/// What is measured, for the process that does it.
const SIZE: &str = "CULVERT_MEMORY_OF";
/// Pods of a service, of a namespace; nodes.
const ENDPOINTS: usize = 10;
const PODS: usize = 500;
const NODES: usize = 200;

/// Resident bytes for each workload.
#[derive(Clone, Copy, Debug)]
struct Weight {
    fresh: f64,
    churned: f64,
}

fn measured(workloads: usize) -> Weight {
    let output = Command::new(std::env::current_exe().unwrap())
        .env("_RJEM_MALLOC_CONF", SETTINGS)
        .env(SIZE, workloads.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let figures = text
        .lines()
        .find_map(|line| line.split_once("weight "))
        .unwrap()
        .1;
    let figures: Vec<f64> = figures.split(' ').map(|n| n.parse().unwrap()).collect();
    let weight = Weight {
        fresh: figures[0],
        churned: figures[1],
    };
    eprintln!("{workloads} workloads: {weight:?}");
    weight
}

fn main() {
    match std::env::var(SIZE) {
        Ok(workloads) => measure(workloads.parse().unwrap()),
        Err(_unset) => a_workload_takes_less_than_half_a_kilobyte_at_any_size(),
    }
}

fn a_workload_takes_less_than_half_a_kilobyte_at_any_size() {
    for workloads in [10_000, 100_000] {
        let Weight { fresh, churned } = measured(workloads);
        assert!(fresh < 512.0, "{fresh} bytes of each of {workloads}");
        assert!(
            churned < 512.0,
            "{churned} bytes of each of {workloads} after churn"
        );
    }
}

fn measure(workloads: usize) {
    let mut mesh = Mesh::new();
    // Whatever is only made once.
    mesh.take(mesh.services(0..1), vec![]);
    let before = resident();
    let pods: Vec<_> = (0..workloads).map(|index| pod(index, 0)).collect();
    mesh.take(
        [pods, mesh.services(0..workloads / ENDPOINTS)].concat(),
        vec![],
    );
    let fresh = resident() - before;
    // Every pod is replaced once, a hundredth of them at a time, in an order of no meaning. Half of them come in two steps.
    let order: Vec<_> = (0..workloads).map(|n| n * 7919 % workloads).collect();
    for some in order.chunks(workloads / 100) {
        let gone = some.iter().map(|index| uid(*index, 0)).collect();
        let half = some.iter().step_by(2).map(|index| {
            let mut pod = workload(*index, 1);
            pod.services.clear();
            resource(pod)
        });
        mesh.take(half.collect(), gone);
        mesh.take(some.iter().map(|index| pod(*index, 1)).collect(), vec![]);
    }
    assert_eq!(mesh.store.snapshot().workload_count(), workloads);
    assert_eq!(
        mesh.machine.held(ADDRESS).count(),
        workloads + workloads / ENDPOINTS
    );
    let churned = resident() - before;
    println!(
        "\nweight {:.1} {:.1}",
        fresh / workloads as f64,
        churned / workloads as f64
    );
}

struct Mesh {
    machine: Machine,
    store: Store,
}

impl Mesh {
    fn new() -> Self {
        Self {
            machine: Machine::new(ads::Node::default(), &[ADDRESS]),
            store: Store::new(Settings::default()),
        }
    }

    fn take(&mut self, resources: Vec<ads::Resource>, removed_resources: Vec<String>) {
        let response = DeltaDiscoveryResponse {
            type_url: ADDRESS.into(),
            nonce: "n".into(),
            resources,
            removed_resources,
            ..Default::default()
        };
        let message: Bytes = response.encode_to_vec().into();
        drop(response);
        let reply = self.machine.receive(message, &mut self.store).unwrap();
        assert_eq!(reply.rejected, []);
    }

    fn services(&self, which: std::ops::Range<usize>) -> Vec<ads::Resource> {
        which.map(service).collect()
    }
}

/// Anonymous memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kilobytes * 1024.0
}

fn namespace(index: usize) -> String {
    format!("scale-{:03}", index / PODS)
}

fn app(index: usize) -> String {
    format!("svc-{:02}", index % PODS % (PODS / ENDPOINTS))
}

fn name(index: usize, generation: usize) -> String {
    format!("{}-7d9c5b6f4-{:05}-{generation}", app(index), index % PODS)
}

fn uid(index: usize, generation: usize) -> String {
    format!(
        "Kubernetes//Pod/{}/{}",
        namespace(index),
        name(index, generation)
    )
}

fn hostname(index: usize) -> String {
    format!("{}.{}.svc.cluster.local", app(index), namespace(index))
}

fn workload(index: usize, generation: usize) -> proto::Workload {
    let number = u32::try_from(0x0a80_0000 + index + generation * 1_000_000).unwrap();
    let namespace = namespace(index);
    let ports = proto::PortList {
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
    };
    proto::Workload {
        uid: uid(index, generation),
        name: name(index, generation),
        addresses: vec![Bytes::copy_from_slice(&number.to_be_bytes())],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        service_account: format!("account-{}", index % 5),
        node: format!("node-{:03}", index % NODES),
        canonical_name: app(index),
        canonical_revision: "latest".into(),
        workload_name: format!("{}-7d9c5b6f4", app(index)),
        cluster_id: "Kubernetes".into(),
        locality: Some(proto::Locality {
            region: "r".into(),
            zone: format!("z{}", index % NODES % 3),
            ..Default::default()
        }),
        services: BTreeMap::from([(format!("{namespace}/{}", hostname(index)), ports)]),
        namespace,
        ..Default::default()
    }
}

fn pod(index: usize, generation: usize) -> ads::Resource {
    resource(workload(index, generation))
}

fn resource(workload: proto::Workload) -> ads::Resource {
    let name = workload.uid.clone();
    wire(name, proto::address::Type::Workload(workload))
}

/// The service of each tenth pod.
fn service(index: usize) -> ads::Resource {
    let first = index / (PODS / ENDPOINTS) * PODS + index % (PODS / ENDPOINTS);
    let number = u32::try_from(0x0a00_0001 + index).unwrap();
    let service = proto::Service {
        name: app(first),
        namespace: namespace(first),
        hostname: hostname(first),
        addresses: vec![proto::NetworkAddress {
            address: Bytes::copy_from_slice(&number.to_be_bytes()),
            ..Default::default()
        }],
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        subject_alt_names: vec![],
        ..Default::default()
    };
    let name = format!("{}/{}", service.namespace, service.hostname);
    wire(name, proto::address::Type::Service(service))
}

/// With a version as the controller makes it.
fn wire(name: String, kind: proto::address::Type) -> ads::Resource {
    let value = proto::Address { r#type: Some(kind) }.encode_to_vec();
    let digit = |byte: &u8| format!("{:02x}", byte.wrapping_mul(31));
    ads::Resource {
        version: name
            .bytes()
            .rev()
            .take(12)
            .collect::<Vec<_>>()
            .iter()
            .map(digit)
            .collect(),
        name,
        resource: Some(prost_types::Any {
            type_url: ADDRESS.into(),
            value,
        }),
        ..Default::default()
    }
}
