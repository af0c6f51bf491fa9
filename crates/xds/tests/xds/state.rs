//! Workloads, services and settings: what is accepted, and what is found.

use culvert_proto::istio::workload as proto;
use culvert_proto::node::TrustBundle;
use culvert_proto::type_url::{ADDRESS, AUTHORIZATION, MESH_SETTINGS, TRUST_BUNDLE};
use culvert_xds::state::{GatewayDestination, Snapshot, Tunnel};
use culvert_xds::{Handler as _, Rejected, Store, Update};
use prost::Message as _;

use crate::common::{Fed, ip_bytes, key, service, settings, uid, with_service, workload};

/// Makes a message invalid.
type Spoil<M> = Box<dyn Fn(&mut M)>;

fn only_error(rejected: &[Rejected]) -> &str {
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    &rejected[0].error
}

fn owner(snapshot: &Snapshot, ip: &str) -> Option<String> {
    let workload = snapshot.workload_by_ip(ip.parse().unwrap())?;
    Some(workload.name().to_owned())
}

fn endpoints(snapshot: &Snapshot, name: &str, port: u16) -> Vec<(String, u16)> {
    let service = snapshot.service(&key(name)).unwrap();
    snapshot
        .endpoints(service, port)
        .map(|endpoint| (endpoint.workload.name().to_owned(), endpoint.port))
        .collect()
}

#[test]
fn a_workload_is_found_with_all_that_was_said_of_it() {
    let mut store = Fed::new();
    let mut given = workload("a", "10.1.0.1");
    given.addresses.push(ip_bytes("fd10::1"));
    given.canonical_name = "web".into();
    given.canonical_revision = "v2".into();
    given.waypoint = Some(proto::GatewayAddress {
        hbone_mtls_port: 15008,
        destination: Some(proto::gateway_address::Destination::Address(
            proto::NetworkAddress {
                network: String::new(),
                address: ip_bytes("10.1.0.9"),
                length: None,
            },
        )),
    });
    given.locality = Some(proto::Locality {
        region: "r".into(),
        zone: "z".into(),
        subzone: String::new(),
    });
    assert!(store.workload(given).is_empty());

    let snapshot = store.0.snapshot();
    let workload = snapshot.workload(&uid("a")).unwrap();
    assert_eq!(
        workload.identity().as_str(),
        "spiffe://cluster.local/ns/demo/sa/web"
    );
    assert_eq!(workload.tunnel(), Tunnel::Hbone);
    assert_eq!(&**workload.canonical_revision(), "v2");
    assert_eq!(&*workload.locality().zone, "z");
    assert_eq!((workload.healthy(), workload.capacity()), (true, 1));
    let waypoint = workload.waypoint().unwrap();
    assert_eq!(waypoint.to_string(), "10.1.0.9:15008");
    assert!(matches!(
        waypoint.destination,
        GatewayDestination::Address { .. }
    ));
    for ip in ["10.1.0.1", "fd10::1", "::ffff:10.1.0.1"] {
        assert_eq!(owner(&snapshot, ip).as_deref(), Some("a"), "{ip}");
    }
    assert_eq!(owner(&snapshot, "10.1.0.2"), None);
}

#[test]
fn a_workload_that_is_not_right_is_rejected_by_field_and_the_old_one_stays() {
    let mut store = Fed::new();
    store.workload(workload("a", "10.1.0.1"));
    let cases: Vec<(&str, Spoil<proto::Workload>)> = vec![
        (
            "addresses[0]",
            Box::new(|w| w.addresses = vec![vec![1, 2, 3].into()]),
        ),
        (
            "addresses[1]",
            Box::new(|w| w.addresses.push(ip_bytes("0.0.0.0"))),
        ),
        (
            "addresses[1]",
            Box::new(|w| w.addresses.push(ip_bytes("::ffff:127.0.0.1"))),
        ),
        ("name:", Box::new(|w| w.name.clear())),
        ("namespace:", Box::new(|w| w.namespace.clear())),
        (
            "service_account",
            Box::new(|w| w.service_account = "a/sa/b".into()),
        ),
        (
            "trust_domain",
            Box::new(|w| w.trust_domain = "Not a domain".into()),
        ),
        ("tunnel_protocol", Box::new(|w| w.tunnel_protocol = 9)),
        ("tunnel_protocol", Box::new(|w| w.tunnel_protocol = 2)),
        ("status", Box::new(|w| w.status = 7)),
        ("workload_type", Box::new(|w| w.workload_type = 7)),
        ("network_mode", Box::new(|w| w.network_mode = 7)),
        (
            "waypoint:",
            Box::new(|w| w.waypoint = Some(proto::GatewayAddress::default())),
        ),
        (
            "authorization_policies[0]",
            Box::new(|w| w.authorization_policies = vec!["x".into()]),
        ),
        (
            "services[\"x\"]",
            Box::new(|w| *w = with_service(w.clone(), "x", &[])),
        ),
        (
            "services[\"demo/x\"].ports[0].target_port",
            Box::new(|w| *w = with_service(w.clone(), "demo/x", &[(80, 65536)])),
        ),
    ];
    for (field, spoil) in cases {
        let mut bad = workload("a", "10.1.0.2");
        spoil(&mut bad);
        let rejected = store.workload(bad);
        assert!(
            only_error(&rejected).starts_with(field),
            "{field}: {rejected:?}"
        );
        assert_eq!(&*rejected[0].name, uid("a"));
        assert_eq!(owner(&store.0.snapshot(), "10.1.0.1").as_deref(), Some("a"));
        assert_eq!(owner(&store.0.snapshot(), "10.1.0.2"), None);
    }
    let body = crate::common::address(proto::address::Type::Workload(workload("a", "10.1.0.3")));
    assert!(only_error(&store.put(ADDRESS, "another name", body)).starts_with("uid"));
    assert!(only_error(&store.put(ADDRESS, "x", Vec::new())).starts_with("type"));
    assert!(only_error(&store.put(ADDRESS, "x", vec![0xff; 9])).starts_with("message"));
}

#[test]
fn a_service_that_is_not_right_is_rejected_by_field() {
    let mut store = Fed::new();
    let cases: Vec<(&str, Spoil<proto::Service>)> = vec![
        ("name", Box::new(|s| s.name.clear())),
        ("namespace", Box::new(|s| s.namespace.clear())),
        ("hostname", Box::new(|s| s.hostname = "Upper.case".into())),
        ("hostname", Box::new(|s| s.hostname = "a b".into())),
        (
            "addresses[0]",
            Box::new(|s| s.addresses[0].address = vec![0; 5].into()),
        ),
        (
            "addresses[0]",
            Box::new(|s| s.addresses[0].length = Some(24)),
        ),
        (
            "ports[0].service_port",
            Box::new(|s| s.ports[0].service_port = 0),
        ),
        (
            "ports[0].target_port",
            Box::new(|s| s.ports[0].target_port = 70_000),
        ),
        (
            "ports[0].app_protocol",
            Box::new(|s| s.ports[0].app_protocol = 99),
        ),
        ("ports[1]", Box::new(|s| s.ports.push(s.ports[0]))),
        (
            "load_balancing.mode",
            Box::new(|s| {
                s.load_balancing = Some(proto::LoadBalancing {
                    mode: 9,
                    ..Default::default()
                });
            }),
        ),
        (
            "waypoint",
            Box::new(|s| s.waypoint = Some(proto::GatewayAddress::default())),
        ),
    ];
    for (field, spoil) in cases {
        let mut bad = service("s", "10.96.0.1", &[(80, 8080)]);
        spoil(&mut bad);
        let rejected = store.service(bad);
        assert!(
            only_error(&rejected).starts_with(field),
            "{field}: {rejected:?}"
        );
    }
    assert_eq!(store.0.snapshot().services().count(), 0);
    let mut whole = service("s", "10.96.0.1", &[(80, 8080)]);
    whole.addresses[0].length = Some(32);
    assert!(store.service(whole).is_empty());
}

#[test]
fn of_two_workloads_with_one_address_the_safe_one_has_it_and_removal_restores_the_other() {
    let plain = |name: &str| proto::Workload {
        tunnel_protocol: proto::TunnelProtocol::None.into(),
        ..workload(name, "10.1.0.1")
    };
    let sick = |name: &str| proto::Workload {
        status: proto::WorkloadStatus::Unhealthy.into(),
        ..workload(name, "10.1.0.1")
    };
    let claims = [
        plain("a"),
        sick("b"),
        workload("d", "10.1.0.1"),
        workload("c", "10.1.0.1"),
    ];
    for rotation in 0..claims.len() {
        let mut store = Fed::new();
        let mut order = claims.clone();
        order.rotate_left(rotation);
        for claim in order {
            assert!(store.workload(claim).is_empty());
        }
        for expected in ["c", "d", "b", "a"] {
            assert_eq!(
                owner(&store.0.snapshot(), "10.1.0.1").as_deref(),
                Some(expected)
            );
            store.remove(ADDRESS, &uid(expected));
        }
        assert_eq!(owner(&store.0.snapshot(), "10.1.0.1"), None);
    }
}

#[test]
fn a_pod_with_host_network_is_not_found_by_its_nodes_address() {
    let mut store = Fed::new();
    let mut host = workload("host", "10.1.0.1");
    host.network_mode = proto::NetworkMode::HostNetwork.into();
    assert!(store.workload(host).is_empty());
    let snapshot = store.0.snapshot();
    assert!(snapshot.workload(&uid("host")).unwrap().host_network());
    assert_eq!(owner(&snapshot, "10.1.0.1"), None);
}

#[test]
fn services_are_found_by_address_and_by_name_and_the_canonical_one_wins() {
    let mut store = Fed::new();
    let first = service("a", "10.96.0.1", &[(80, 80)]);
    let canonical = proto::Service {
        namespace: "other".into(),
        canonical: true,
        ..first.clone()
    };
    store.service(first);
    store.service(canonical);
    let vip = "10.96.0.1".parse().unwrap();
    let hostname = "a.demo.svc.cluster.local";
    let snapshot = store.0.snapshot();
    assert_eq!(&*snapshot.service_by_vip(vip).unwrap().namespace, "other");
    assert_eq!(
        &*snapshot.service_by_hostname(hostname).unwrap().namespace,
        "other"
    );
    assert_eq!(snapshot.services_by_hostname(hostname).count(), 2);
    store.remove(ADDRESS, &format!("other/{hostname}"));
    let snapshot = store.0.snapshot();
    assert_eq!(&*snapshot.service_by_vip(vip).unwrap().namespace, "demo");
    assert_eq!(
        &*snapshot.service_by_hostname(hostname).unwrap().namespace,
        "demo"
    );
    assert!(snapshot.service_by_hostname("a.demo").is_none());
}

#[test]
fn a_private_service_is_known_in_its_own_namespace_alone() {
    let mut store = Fed::new();
    let public = service("a", "192.0.2.1", &[(80, 80)]);
    let private = proto::Service {
        namespace: "other".into(),
        visibility: proto::service::Visibility::Namespace.into(),
        external: true,
        ..public.clone()
    };
    store.service(private);
    let vip = "192.0.2.1".parse().unwrap();
    let hostname = "a.demo.svc.cluster.local";
    let known = |store: &Fed, namespace: &str| {
        let snapshot = store.0.snapshot();
        let by_vip = snapshot
            .service_at(vip, namespace)
            .map(|s| s.namespace.to_string());
        let by_name = snapshot
            .service_named(hostname, namespace)
            .map(|s| s.namespace.to_string());
        assert_eq!(by_vip, by_name);
        by_vip
    };
    assert_eq!(known(&store, "other").as_deref(), Some("other"));
    assert_eq!(known(&store, "demo"), None);
    assert!(store.0.snapshot().service_by_vip(vip).is_none());
    assert!(store.0.snapshot().service_by_hostname(hostname).is_none());
    assert!(
        store.0.snapshot().is_outside(vip),
        "an entry may be reached at its own address"
    );
    // Their own goes before what others show, and what everybody must believe before both.
    store.service(public.clone());
    assert_eq!(known(&store, "other").as_deref(), Some("other"));
    assert_eq!(known(&store, "demo").as_deref(), Some("demo"));
    assert!(!store.0.snapshot().is_outside(vip));
    store.service(proto::Service {
        canonical: true,
        ..public
    });
    assert_eq!(known(&store, "other").as_deref(), Some("demo"));
}

#[test]
fn what_is_outside_has_no_address_of_its_own_to_others() {
    let mut store = Fed::new();
    let mut outside = workload("outside", "192.0.2.7");
    outside.external = true;
    assert!(store.workload(outside).is_empty());
    store.workload(workload("pod", "192.0.2.8"));
    let snapshot = store.0.snapshot();
    assert!(snapshot.workload(&uid("outside")).unwrap().external());
    assert_eq!(owner(&snapshot, "192.0.2.7"), None);
    let outside = |ip: &str| snapshot.is_outside(ip.parse().unwrap());
    assert!(outside("192.0.2.7") && outside("2001:db8::1"));
    for inside in [
        "192.0.2.8",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "::ffff:127.0.0.1",
    ] {
        assert!(!outside(inside), "{inside}");
    }
}

#[test]
fn endpoints_are_the_workloads_that_name_the_service_in_whatever_order_they_come() {
    let mut store = Fed::new();
    let own_port = with_service(workload("a", "10.1.0.1"), &key("s"), &[(80, 8081)]);
    let mut named_port = with_service(workload("b", "10.1.0.2"), &key("s"), &[(90, 9091)]);
    named_port.status = proto::WorkloadStatus::Unhealthy.into();
    store.workload(own_port);
    store.workload(named_port);
    store.workload(workload("c", "10.1.0.3"));
    // Port 90 has a target of each endpoint's own.
    store.service(service("s", "10.96.0.1", &[(80, 8080), (90, 0)]));
    store.service(service("t", "10.96.0.2", &[(80, 8080)]));

    let snapshot = store.0.snapshot();
    let named = |list: &[(&str, u16)]| -> Vec<(String, u16)> {
        list.iter()
            .map(|(name, port)| ((*name).to_owned(), *port))
            .collect()
    };
    assert_eq!(
        endpoints(&snapshot, "s", 80),
        named(&[("a", 8081), ("b", 8080)])
    );
    assert_eq!(endpoints(&snapshot, "s", 90), named(&[("b", 9091)]));
    assert_eq!(endpoints(&snapshot, "s", 70), named(&[]));
    assert_eq!(endpoints(&snapshot, "t", 80), named(&[]));

    store.workload(workload("a", "10.1.0.1"));
    assert_eq!(
        endpoints(&store.0.snapshot(), "s", 80),
        named(&[("b", 8080)])
    );
    assert_eq!(
        endpoints(&snapshot, "s", 80).len(),
        2,
        "a snapshot does not change"
    );
}

#[test]
fn a_name_that_becomes_another_kind_of_address_leaves_nothing_behind() {
    let mut store = Fed::new();
    store.service(service("s", "10.96.0.1", &[(80, 80)]));
    let mut workload = workload("w", "10.1.0.1");
    workload.uid = key("s");
    assert!(store.workload(workload).is_empty());
    assert!(store.0.snapshot().service(&key("s")).is_none());
    assert!(
        store
            .0
            .snapshot()
            .service_by_vip("10.96.0.1".parse().unwrap())
            .is_none()
    );
    store.service(service("s", "10.96.0.1", &[(80, 80)]));
    assert_eq!(store.0.snapshot().workload_count(), 0);
    assert_eq!(owner(&store.0.snapshot(), "10.1.0.1"), None);
}

#[test]
fn settings_are_replaced_and_never_removed() {
    let mut store = Fed::new();
    let ip = "10.7.7.7".parse().unwrap();
    assert!(!store.0.snapshot().in_cluster(ip));
    assert!(store.settings(&settings("mesh.example", "root")).is_empty());
    assert!(store.0.snapshot().in_cluster(ip));
    assert!(
        store
            .0
            .snapshot()
            .in_cluster("::ffff:10.7.7.7".parse().unwrap())
    );
    assert!(!store.0.snapshot().in_cluster("192.0.2.1".parse().unwrap()));
    for (field, bad) in [
        ("trust_domain", settings("", "root")),
        ("root_namespace", settings("mesh.example", "")),
        (
            "cluster_cidrs[0]",
            culvert_proto::node::MeshSettings {
                cluster_cidrs: vec!["10.0.0.0/33".into()],
                ..settings("mesh.example", "root")
            },
        ),
    ] {
        assert!(only_error(&store.settings(&bad)).starts_with(field));
    }
    assert_eq!(store.remove(MESH_SETTINGS, "default").len(), 1);
    assert_eq!(&*store.0.snapshot().settings().trust_domain, "mesh.example");
}

#[test]
fn a_workload_without_a_trust_domain_has_the_meshs_whenever_that_comes() {
    let mut store = Fed::new();
    let own = proto::Workload {
        trust_domain: "own.example".into(),
        ..workload("own", "10.1.0.2")
    };
    store.workload(workload("a", "10.1.0.1"));
    store.workload(own);
    store.settings(&settings("mesh.example", "root"));
    let trust_domain = |name: &str| {
        let snapshot = store.0.snapshot();
        snapshot
            .workload(&uid(name))
            .unwrap()
            .identity()
            .trust_domain()
            .to_owned()
    };
    assert_eq!(trust_domain("a"), "mesh.example");
    assert_eq!(trust_domain("own"), "own.example");
}

#[test]
fn one_change_leaves_every_other_workload_untouched() {
    let mut store = Fed::new();
    for n in 0..100 {
        store.workload(workload(&format!("w{n}"), &format!("10.1.0.{}", n + 1)));
    }
    let before = store.0.snapshot();
    store.workload(workload("w7", "10.1.1.1"));
    let after = store.0.snapshot();
    assert_eq!(after.version(), before.version() + 1);
    for (old, new) in before.workloads().zip(after.workloads()) {
        assert_eq!(std::sync::Arc::ptr_eq(old, new), old.name() != "w7");
    }
}

#[test]
fn readers_are_told_of_changes_and_of_what_is_synced() {
    let mut store = Fed::new();
    let mut changed = store.0.changed();
    assert!(!changed.has_changed().unwrap());
    assert!(!store.0.synced(ADDRESS));
    let nothing = store.0.apply(ADDRESS, Update::default());
    assert!(nothing.is_empty());
    assert!(store.0.synced(ADDRESS));
    assert!(
        !changed.has_changed().unwrap(),
        "an empty update changes nothing"
    );
    store.workload(workload("a", "10.1.0.1"));
    assert_eq!(*changed.borrow_and_update(), store.0.snapshot().version());
}

#[tokio::test]
async fn waiting_for_the_sync_ends_with_the_last_type() {
    let mut store = Fed::new();
    let reader = store.0.clone();
    let waiting = reader.wait_synced(&[ADDRESS, AUTHORIZATION, MESH_SETTINGS]);
    tokio::pin!(waiting);
    for url in Store::TYPES {
        assert!(store.0.apply(url, Update::default()).is_empty());
    }
    store.put(MESH_SETTINGS, "default", vec![0xff]);
    assert!(
        futures_util::poll!(&mut waiting).is_pending(),
        "nothing, and nothing valid, are no settings"
    );
    assert!(!reader.synced(TRUST_BUNDLE));
    store.settings(&settings("mesh.example", "root"));
    waiting.await;
}

#[test]
fn trust_roots_are_published_only_if_they_are_certificates() {
    let mut store = Fed::new();
    let roots = store.0.trust_roots();
    let dir = tempfile::tempdir().unwrap();
    let domain = culvert_identity::TrustDomain::new("mesh.example").unwrap();
    let root = culvert_identity::ca::Root::load_or_create(dir.path(), domain).unwrap();
    let mut bundle = TrustBundle {
        trust_domain: "mesh.example".into(),
        roots: root.roots_pem().unwrap(),
    };
    assert!(
        store
            .put(TRUST_BUNDLE, "default", bundle.encode_to_vec())
            .is_empty()
    );
    let good = roots.borrow().clone().unwrap();
    assert_eq!(good.roots, bundle.roots);

    bundle.roots = vec!["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into()];
    assert_eq!(
        store
            .put(TRUST_BUNDLE, "default", bundle.encode_to_vec())
            .len(),
        1
    );
    bundle.roots.clear();
    assert_eq!(
        store
            .put(TRUST_BUNDLE, "default", bundle.encode_to_vec())
            .len(),
        1
    );
    assert_eq!(store.remove(TRUST_BUNDLE, "default").len(), 1);
    assert_eq!(roots.borrow().clone().unwrap(), good);
}
