//! The mesh's names: services by hostname, and the pods of headless services.

use std::net::IpAddr;

use culvert_xds::state::{Service, Snapshot, Workload};
use rand::seq::SliceRandom as _;

/// The addresses of `name` (lower case, no final dot) if it is one of the mesh's; otherwise the resolver knows better.
pub(super) fn lookup(snapshot: &Snapshot, name: &str) -> Option<Vec<IpAddr>> {
    if let Some(service) = snapshot.service_by_hostname(name) {
        return of_service(snapshot, service);
    }
    let (pod, service) = name.split_once('.')?;
    of_pod(snapshot, snapshot.service_by_hostname(service)?, pod)
}

/// The virtual addresses; of a headless service those of its healthy endpoints, in an order that differs each time.
fn of_service(snapshot: &Snapshot, service: &Service) -> Option<Vec<IpAddr>> {
    if !service.vips.is_empty() {
        return Some(service.vips.to_vec());
    }
    let endpoints = snapshot
        .workloads_of(service)
        .filter(|workload| workload.healthy());
    let mut addresses: Vec<IpAddr> = endpoints
        .flat_map(|workload| workload.addresses())
        .copied()
        .filter(|address| service.families.holds(address))
        .collect();
    addresses.shuffle(&mut rand::rng());
    (!addresses.is_empty()).then_some(addresses)
}

fn of_pod(snapshot: &Snapshot, service: &Service, pod: &str) -> Option<Vec<IpAddr>> {
    if !service.vips.is_empty() {
        return None;
    }
    let is_pod = |workload: &&std::sync::Arc<Workload>| {
        workload.name() == pod && !workload.addresses().is_empty()
    };
    let workload = snapshot.workloads_of(service).find(is_pod)?;
    let of_family = |address: &IpAddr| service.families.holds(address);
    let addresses: Vec<_> = workload
        .addresses()
        .iter()
        .copied()
        .filter(of_family)
        .collect();
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Mesh, service, workload};

    #[test]
    fn a_headless_service_of_one_family_has_names_of_that_family() {
        let mesh = Mesh::new([
            service("demo", "db").port(6379, 6379).only_v4().into(),
            workload("demo", "db-0")
                .ip("10.0.0.2")
                .ip("fd00::2")
                .of("demo/db.demo.svc.cluster.local")
                .into(),
        ]);
        let only: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap()];
        for name in [
            "db.demo.svc.cluster.local",
            "db-0.db.demo.svc.cluster.local",
        ] {
            assert_eq!(lookup(&mesh.snapshot(), name), Some(only.clone()), "{name}");
        }
    }

    #[test]
    fn services_by_address_and_headless_ones_by_their_pods() {
        let mesh = Mesh::new([
            service("demo", "web")
                .vip("10.96.0.1")
                .vip("fd10:96::1")
                .port(80, 8080)
                .into(),
            service("demo", "db").port(6379, 6379).into(),
            service("demo", "none").port(1, 1).into(),
            workload("demo", "web-0")
                .ip("10.0.0.1")
                .of("demo/web.demo.svc.cluster.local")
                .into(),
            workload("demo", "db-0")
                .ip("10.0.0.2")
                .ip("fd00::2")
                .of("demo/db.demo.svc.cluster.local")
                .into(),
            workload("demo", "db-1")
                .ip("10.0.0.3")
                .of("demo/db.demo.svc.cluster.local")
                .into(),
            workload("demo", "db-2")
                .ip("10.0.0.4")
                .unhealthy()
                .of("demo/db.demo.svc.cluster.local")
                .into(),
        ]);
        let snapshot = mesh.snapshot();
        let find = |name: &str| {
            let mut found = lookup(&snapshot, name)?;
            found.sort();
            Some(
                found
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(
            find("web.demo.svc.cluster.local"),
            found("10.96.0.1 fd10:96::1")
        );
        assert_eq!(
            find("db.demo.svc.cluster.local"),
            found("10.0.0.2 10.0.0.3 fd00::2")
        );
        assert_eq!(find("db-1.db.demo.svc.cluster.local"), found("10.0.0.3"));
        assert_eq!(
            find("db-2.db.demo.svc.cluster.local"),
            found("10.0.0.4"),
            "by its own name also when not ready"
        );
        for name in [
            "none.demo.svc.cluster.local",
            "web-0.web.demo.svc.cluster.local",
            "db-9.db.demo.svc.cluster.local",
            "db",
            "",
            ".",
            "example.com",
        ] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
