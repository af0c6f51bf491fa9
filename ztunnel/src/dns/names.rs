//! The mesh's names: services by hostname, and the pods of headless services.

use std::net::IpAddr;

use culvert_xds::state::{Service, Snapshot, Workload};
use rand::seq::SliceRandom as _;

use crate::inpod::Pod;

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Client<'a> {
    namespace: &'a str,
    addresses: &'a [IpAddr],
}

/// The addresses of `name` (lower case, no final dot) if it is one of those that the mesh has for a pod; otherwise the
/// resolver knows better.
pub(super) fn lookup(snapshot: &Snapshot, pod: &Pod, name: &str) -> Option<Vec<IpAddr>> {
    let client = Client {
        namespace: &pod.info().namespace,
        addresses: pod.addresses(),
    };
    find(snapshot, client, name)
}

fn find(snapshot: &Snapshot, client: Client<'_>, name: &str) -> Option<Vec<IpAddr>> {
    if let Some(service) = snapshot.service_named(name, client.namespace) {
        return of_service(snapshot, client, service);
    }
    let (pod, service) = name.split_once('.')?;
    let service = snapshot.service_named(service, client.namespace)?;
    of_pod(snapshot, service, pod)
}

/// The virtual addresses; of a headless service those of its healthy endpoints, in an order that differs each time.
fn of_service(snapshot: &Snapshot, client: Client<'_>, service: &Service) -> Option<Vec<IpAddr>> {
    if service.external {
        return Some(of_clients_families(client, &service.vips));
    }
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

/// What is given addresses is given some of both families, whichever the cluster has: a pod without addresses of a family
/// could not even begin to connect to one of it.
fn of_clients_families(client: Client<'_>, vips: &[IpAddr]) -> Vec<IpAddr> {
    let can = |vip: &&IpAddr| {
        client
            .addresses
            .iter()
            .any(|own| own.is_ipv4() == vip.is_ipv4())
    };
    vips.iter().filter(can).copied().collect()
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

    const V4: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9))];

    fn client(namespace: &str) -> Client<'_> {
        Client {
            namespace,
            addresses: &V4,
        }
    }

    #[test]
    fn a_private_name_is_known_in_its_namespace_and_there_before_anybody_elses() {
        let mesh = Mesh::new([
            service("demo", "api")
                .host("api.example.com")
                .vip("240.240.0.1")
                .vip("2001:2::1")
                .private()
                .external()
                .into(),
            service("egress", "api")
                .host("api.example.com")
                .vip("240.240.0.2")
                .external()
                .into(),
            service("demo", "own")
                .host("own.example.com")
                .vip("240.240.0.3")
                .private()
                .external()
                .into(),
        ]);
        let snapshot = mesh.snapshot();
        let ips = |namespace: &str, name: &str| {
            let found = find(&snapshot, client(namespace), name);
            found.map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let one = |ip: &str| Some(vec![ip.to_owned()]);
        assert_eq!(ips("demo", "api.example.com"), one("240.240.0.1"));
        assert_eq!(ips("other", "api.example.com"), one("240.240.0.2"));
        assert_eq!(ips("demo", "own.example.com"), one("240.240.0.3"));
        assert_eq!(ips("other", "own.example.com"), None);
        assert_eq!(ips("demo", "v1.api.example.com"), None);
    }

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
            let found = find(&mesh.snapshot(), client("demo"), name);
            assert_eq!(found, Some(only.clone()), "{name}");
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
            let mut found = super::find(&snapshot, client("demo"), name)?;
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
