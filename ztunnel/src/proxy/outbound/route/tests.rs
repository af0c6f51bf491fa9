//! Every outcome of routing, as a table over one small mesh.

use super::*;
use crate::testing::{Mesh, service, uid, workload};

fn mesh() -> Mesh {
    let mesh = Mesh::new([workload("demo", "client")
        .ip("10.0.0.1")
        .ip("fd00::1")
        .into()]);
    put_services(&mesh);
    put_services_with_waypoints(&mesh);
    put_entries(&mesh);
    mesh
}

fn put_services(mesh: &Mesh) {
    let of = |name| format!("demo/{name}.demo.svc.cluster.local");
    let web = service("demo", "web").vip("10.96.0.1").vip("fd10:96::1");
    mesh.put(web.port(80, 8080).port(81, 15008).into());
    mesh.put(
        workload("demo", "web-1")
            .ip("10.0.1.1")
            .ip("fd00:1::1")
            .of(&of("web"))
            .into(),
    );
    mesh.put(
        workload("demo", "web-2")
            .ip("10.0.1.2")
            .of(&of("web"))
            .unhealthy()
            .into(),
    );
    mesh.put(service("demo", "old").vip("10.96.0.2").port(80, 80).into());
    mesh.put(
        workload("demo", "old-1")
            .plaintext()
            .ip("10.0.1.3")
            .of(&of("old"))
            .into(),
    );
    mesh.put(service("demo", "none").vip("10.96.0.3").port(80, 80).into());
    mesh.put(service("demo", "far").vip("10.96.0.11").port(80, 80).into());
    mesh.put(
        workload("demo", "far-1")
            .ip("10.0.3.1")
            .network("other")
            .of(&of("far"))
            .into(),
    );
}

/// Outside of the cluster.
fn put_entries(mesh: &Mesh) {
    let entry = |namespace, name: &str, vip| {
        let host = format!("{name}.example");
        service(namespace, name)
            .host(&host)
            .vip(vip)
            .port(443, 443)
            .external()
    };
    let endpoint = |name: &str| workload("demo", name).external();
    mesh.put(entry("demo", "api", "240.240.0.1").private().into());
    mesh.put(
        endpoint("api-1")
            .hostname("api.example")
            .of("demo/api.example")
            .into(),
    );
    mesh.put(entry("demo", "fixed", "240.240.0.2").into());
    mesh.put(
        endpoint("fixed-1")
            .ip("192.0.2.1")
            .of("demo/fixed.example")
            .into(),
    );
    mesh.put(
        endpoint("fixed-2")
            .ip("10.0.1.1")
            .of("demo/fixed.example")
            .into(),
    );
    mesh.put(entry("demo", "inside", "240.240.0.3").into());
    mesh.put(
        endpoint("inside-1")
            .ip("10.0.1.1")
            .of("demo/inside.example")
            .into(),
    );
    mesh.put(
        endpoint("inside-2")
            .ip("169.254.169.254")
            .of("demo/inside.example")
            .into(),
    );
    mesh.put(entry("other", "theirs", "240.240.0.4").private().into());
    mesh.put(
        endpoint("theirs-1")
            .ip("192.0.2.4")
            .of("other/theirs.example")
            .into(),
    );
}

fn put_services_with_waypoints(mesh: &Mesh) {
    let by_address = |name, vip, waypoint| {
        service("demo", name)
            .vip(vip)
            .port(80, 8080)
            .waypoint(waypoint)
    };
    let by_name = |name, vip, waypoint| {
        service("demo", name)
            .vip(vip)
            .port(80, 80)
            .waypoint_named("infra", waypoint)
    };
    let l7 = "demo/l7.demo.svc.cluster.local";
    let gate = "infra/gate.infra.svc.cluster.local";
    mesh.put(by_address("l7", "10.96.0.4", "10.0.2.1").into());
    mesh.put(
        workload("demo", "l7-1")
            .ip("10.0.1.4")
            .of(l7)
            .waypoint("10.0.2.1")
            .into(),
    );
    mesh.put(workload("infra", "waypoint").ip("10.0.2.1").into());
    mesh.put(by_name("named", "10.96.0.5", "gate.infra.svc.cluster.local").into());
    mesh.put(
        service("infra", "gate")
            .vip("10.96.0.6")
            .port(15008, 15008)
            .into(),
    );
    mesh.put(workload("infra", "gate-1").ip("10.0.2.2").of(gate).into());
    mesh.put(
        workload("infra", "gate-2")
            .ip("10.0.2.3")
            .of(gate)
            .plaintext()
            .into(),
    );
    mesh.put(by_address("lost", "10.96.0.7", "10.0.2.99").into());
    mesh.put(by_name("vanished", "10.96.0.8", "no.such").into());
    mesh.put(by_address("sick", "10.96.0.9", "10.0.2.4").into());
    mesh.put(workload("infra", "sick").ip("10.0.2.4").unhealthy().into());
    mesh.put(by_address("bare", "10.96.0.10", "10.0.2.5").into());
    mesh.put(workload("infra", "bare").ip("10.0.2.5").plaintext().into());
}

fn at(dst: &str) -> Route {
    let mesh = mesh();
    let snapshot = mesh.snapshot();
    let source = snapshot.workload(&uid("demo", "client")).unwrap();
    route(
        &View {
            snapshot: &snapshot,
            source,
            load: &Load::default(),
        },
        dst.parse().unwrap(),
    )
}

/// A route in one line.
fn told(route: Route) -> String {
    let hops = |target: Target| {
        let service = target
            .service
            .map(|service| format!("{}: ", service.name))
            .unwrap_or_default();
        let mut hops: Vec<_> = target
            .hops
            .iter()
            .map(|hop| match &hop.way {
                Way::Plaintext(addr) => format!("plain {addr}"),
                Way::Named { name, port } => format!("plain {name}:{port}"),
                Way::Hbone {
                    tunnel,
                    authority,
                    expected,
                } => {
                    let expected: Vec<_> = expected
                        .iter()
                        .map(|id| format!("{}/{}", id.namespace(), id.service_account()))
                        .collect();
                    format!("{authority} in {tunnel} to {}", expected.join(" or "))
                }
            })
            .collect();
        hops.sort();
        format!("{service}{}", hops.join(", "))
    };
    match route {
        Route::Passthrough(addr) => format!("passthrough {addr}"),
        Route::Direct(target) => format!("direct {}", hops(target)),
        Route::Waypoint(target) => format!("waypoint {}", hops(target)),
        Route::DoubleHbone => "double".to_owned(),
        Route::Refuse(reason) => format!("refuse {reason}"),
    }
}

#[test]
fn every_outcome() {
    for (dst, expected) in [
        // Services.
        (
            "10.96.0.1:80",
            "direct web: 10.0.1.1:8080 in 10.0.1.1:15008 to demo/web-1",
        ),
        (
            "[fd10:96::1]:80",
            "direct web: [fd00:1::1]:8080 in [fd00:1::1]:15008 to demo/web-1",
        ),
        ("10.96.0.1:82", "refuse port_unknown"),
        ("10.96.0.1:81", "refuse self_call"),
        ("10.96.0.2:80", "direct old: plain 10.0.1.3:80"),
        ("10.96.0.3:80", "refuse no_endpoint"),
        // Outside of the cluster: by name, by address, never inside, and not what others keep to themselves.
        ("240.240.0.1:443", "direct api: plain api.example:443"),
        ("240.240.0.2:443", "direct fixed: plain 192.0.2.1:443"),
        ("240.240.0.3:443", "refuse no_endpoint"),
        ("240.240.0.4:443", "passthrough 240.240.0.4:443"),
        ("192.0.2.1:443", "passthrough 192.0.2.1:443"),
        // Waypoints of services.
        (
            "10.96.0.4:80",
            "waypoint l7: 10.96.0.4:80 in 10.0.2.1:15008 to infra/waypoint",
        ),
        ("10.96.0.4:82", "refuse port_unknown"),
        (
            "10.96.0.5:80",
            "waypoint named: 10.96.0.5:80 in 10.0.2.2:15008 to infra/gate-1",
        ),
        ("10.96.0.7:80", "refuse waypoint_unavailable"),
        ("10.96.0.8:80", "refuse waypoint_unavailable"),
        ("10.96.0.9:80", "refuse waypoint_unavailable"),
        ("10.96.0.10:80", "refuse waypoint_unavailable"),
        // Workloads by their own address.
        (
            "10.0.1.1:9999",
            "direct 10.0.1.1:9999 in 10.0.1.1:15008 to demo/web-1",
        ),
        (
            "10.0.1.2:80",
            "direct 10.0.1.2:80 in 10.0.1.2:15008 to demo/web-2",
        ),
        ("10.0.1.3:80", "direct plain 10.0.1.3:80"),
        (
            "10.0.1.4:80",
            "waypoint 10.0.1.4:80 in 10.0.2.1:15008 to infra/waypoint",
        ),
        (
            "10.0.0.1:80",
            "direct 10.0.0.1:80 in 10.0.0.1:15008 to demo/client",
        ),
        // The mesh's own ports.
        ("10.0.1.1:15008", "refuse self_call"),
        ("10.0.1.1:15001", "refuse self_call"),
        ("10.0.0.1:15053", "refuse self_call"),
        ("10.0.1.3:15008", "direct plain 10.0.1.3:15008"),
        ("127.0.0.1:80", "refuse self_call"),
        ("[::1]:15001", "refuse self_call"),
        ("0.0.0.0:80", "refuse self_call"),
        ("10.0.1.1:0", "refuse self_call"),
        // Other networks.
        ("10.0.3.1:80", "double"),
        ("10.96.0.11:80", "double"),
        // Nobody's.
        ("10.0.9.9:80", "refuse destination_unknown"),
        ("[fd00::9]:80", "refuse destination_unknown"),
        ("192.0.2.1:80", "passthrough 192.0.2.1:80"),
        ("[2001:db8::1]:443", "passthrough [2001:db8::1]:443"),
        ("192.0.2.1:15008", "passthrough 192.0.2.1:15008"),
    ] {
        assert_eq!(told(at(dst)), expected, "{dst}");
    }
}

#[test]
fn several_endpoints_are_several_tries_and_none_twice() {
    let mesh = mesh();
    for i in 3..9 {
        mesh.put(
            workload("demo", &format!("web-{i}"))
                .ip(&format!("10.0.4.{i}"))
                .of("demo/web.demo.svc.cluster.local")
                .into(),
        );
    }
    let snapshot = mesh.snapshot();
    let source = snapshot.workload(&uid("demo", "client")).unwrap();
    let load = Load::default();
    let view = View {
        snapshot: &snapshot,
        source,
        load: &load,
    };
    let Route::Direct(target) = route(&view, "10.96.0.1:80".parse().unwrap()) else {
        panic!()
    };
    let mut uids: Vec<_> = target
        .hops
        .iter()
        .map(|hop| hop.workload.uid().clone())
        .collect();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 3);

    // Whoever has connections already is passed over for the others.
    let busy: Arc<str> = uid("demo", "web-1").into();
    let _connection = load.start(&busy);
    for _ in 0..50 {
        let Route::Direct(target) = route(&view, "10.96.0.1:80".parse().unwrap()) else {
            panic!()
        };
        assert_ne!(target.hops[0].workload.uid(), &busy);
    }
}

#[test]
fn connections_of_a_pod_to_a_workload_meet_on_one_core_and_others_spread() {
    let (pod, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let (first, second) = (
        "10.0.0.1:1000".parse().unwrap(),
        "10.0.0.1:1001".parse().unwrap(),
    );
    assert_eq!(
        at("10.0.1.1:80").key(&pod, first),
        at("10.96.0.1:80").key(&pod, second)
    );
    assert_ne!(
        at("10.0.1.1:80").key(&pod, first),
        at("10.0.1.1:80").key(&other, first)
    );
    assert_ne!(
        at("192.0.2.1:80").key(&pod, first),
        at("192.0.2.1:80").key(&pod, second)
    );
}

#[test]
fn with_affinity_one_client_has_one_endpoint_and_clients_spread() {
    let endpoints = |mesh: &Mesh, source: &str| -> Vec<String> {
        let snapshot = mesh.snapshot();
        let view = View {
            snapshot: &snapshot,
            source: snapshot.workload(&uid("demo", source)).unwrap(),
            load: &Load::default(),
        };
        let Route::Direct(target) = route(&view, "10.96.0.50:80".parse().unwrap()) else {
            panic!()
        };
        target.hops.iter().map(|hop| format!("{hop:?}")).collect()
    };
    let sticky = service("demo", "sticky").vip("10.96.0.50").port(80, 8080);
    let mesh = Mesh::new([sticky.client_affinity().into()]);
    for i in 1..=4 {
        let endpoint = workload("demo", &format!("sticky-{i}")).ip(&format!("10.0.5.{i}"));
        mesh.put(endpoint.of("demo/sticky.demo.svc.cluster.local").into());
    }
    let clients: Vec<_> = (1..=40).map(|i| format!("client-{i}")).collect();
    for (i, client) in (1..).zip(&clients) {
        mesh.put(workload("demo", client).ip(&format!("10.0.6.{i}")).into());
    }
    let mut used = std::collections::BTreeSet::new();
    for client in &clients {
        let first = endpoints(&mesh, client);
        for _ in 0..20 {
            assert_eq!(endpoints(&mesh, client), first);
        }
        used.insert(first.first().unwrap().clone());
    }
    assert_eq!(used.len(), 4, "40 clients use all endpoints");
}
