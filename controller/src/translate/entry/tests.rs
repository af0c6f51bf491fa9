//! What becomes of ServiceEntries: for whom, by which names and addresses, and what never does.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use culvert_proto::istio::workload::{Service, Workload, service::Visibility};
use serde_json::{Value, json};

use super::*;
use crate::testing::{culvert, namespace, pod_value, service, waypoint, world};
use crate::world::Addresses;

fn entry(namespace: &str, name: &str, hosts: Value) -> Value {
    let spec = json!({"hosts": hosts, "resolution": "DNS",
        "ports": [{"number": 443, "name": "tls", "protocol": "TLS"},
                  {"number": 80, "name": "http", "targetPort": 8080}]});
    culvert("ServiceEntry", namespace, name, spec)
}

fn aged(mut entry: Value, year: u32) -> Value {
    entry["metadata"]["creationTimestamp"] = json!(format!("{year}-01-01T00:00:00Z"));
    entry
}

fn with(mut entry: Value, field: &str, value: Value) -> Value {
    entry["spec"][field] = value;
    entry
}

fn fixed(endpoints: Value) -> Value {
    let entry = entry("demo", "api", json!(["api.example.com"]));
    with(
        with(entry, "resolution", json!("STATIC")),
        "endpoints",
        endpoints,
    )
}

fn mesh(spec: Value) -> Value {
    json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig",
           "metadata": {"name": "default"}, "spec": spec})
}

struct Made {
    services: Vec<Service>,
    workloads: Vec<Workload>,
    /// Condition, reason and field of what is wrong.
    said: Vec<String>,
}

impl Made {
    /// Hosts that are served, `*` behind those that everybody knows.
    fn hosts(&self) -> Vec<String> {
        let host = |service: &Service| {
            let public = service.visibility == i32::from(Visibility::Public);
            format!("{}{}", service.hostname, if public { "*" } else { "" })
        };
        self.services.iter().map(host).collect()
    }

    fn vips(&self) -> Vec<String> {
        let addresses = self.services.iter().flat_map(|service| &service.addresses);
        let ips = addresses.filter_map(|a| names::address(&a.address));
        ips.map(|ip| ip.to_string()).collect()
    }
}

fn make(world: &mut World, of: &str) -> Made {
    let name = NsName::parse(of).unwrap();
    let object = world.cache.entries.get(&name).unwrap().clone();
    settle(world, &object);
    let (resources, findings) = super::of(world, &object);
    let mut made = Made {
        services: Vec::new(),
        workloads: Vec::new(),
        said: Vec::new(),
    };
    for resource in resources {
        assert!(resource.aliases.is_empty());
        match resource.message {
            Message::Service(service) => {
                assert!(service.external);
                let key = format!("{}/{}", service.namespace, service.hostname);
                assert_eq!(*resource.name, *key);
                made.services.push(*service);
            }
            Message::Workload(workload) => {
                assert!(workload.external);
                assert_eq!(*resource.name, *workload.uid);
                made.workloads.push(*workload);
            }
            other => panic!("{other:?}"),
        }
    }
    let said = |f: &Finding| format!("{} {} {}", f.condition.as_str(), f.reason, f.field);
    made.said = findings.iter().map(said).collect();
    made
}

#[test]
fn a_name_becomes_a_service_with_an_address_and_itself_for_an_endpoint() {
    let mut world = world(&[entry(
        "demo",
        "api",
        json!(["api.example.com", "b.example.com"]),
    )]);
    let made = make(&mut world, "demo/api");
    assert_eq!(made.hosts(), ["api.example.com", "b.example.com"]);
    assert_eq!(made.said, Vec::<String>::new());
    let vips = made.vips();
    assert_eq!(vips.len(), 4);
    for (vip, begins) in vips.iter().zip(["240.240.", "2001:2::"].iter().cycle()) {
        assert!(vip.starts_with(begins), "{vip}");
    }
    let ports: Vec<_> = made.services[0]
        .ports
        .iter()
        .map(|p| (p.service_port, p.target_port))
        .collect();
    assert_eq!(ports, [(443, 443), (80, 8080)]);
    let [first, _] = &made.workloads[..] else {
        panic!("{:?}", made.workloads)
    };
    assert_eq!(
        first.uid,
        "Kubernetes/culvert.dev/ServiceEntry/demo/api/api.example.com"
    );
    assert_eq!(
        (first.hostname.as_str(), first.addresses.len()),
        ("api.example.com", 0)
    );
    let services: Vec<_> = first.services.keys().collect();
    assert_eq!(services, ["demo/api.example.com"]);
    assert_eq!(make(&mut world, "demo/api").vips(), vips, "stays");
}

#[test]
fn endpoints_have_ports_localities_and_weights_of_their_own() {
    let endpoints = json!([
        {"address": "192.0.2.1", "ports": {"http": 9090}, "locality": "eu/a", "weight": 0},
        {"address": "192.0.2.2"}]);
    let mut world = world(&[fixed(endpoints)]);
    let made = make(&mut world, "demo/api");
    let ports = |workload: &Workload| {
        let list = &workload.services["demo/api.example.com"].ports;
        list.iter()
            .map(|p| (p.service_port, p.target_port))
            .collect::<Vec<_>>()
    };
    let [one, two] = &made.workloads[..] else {
        panic!()
    };
    assert_eq!(
        (ports(one), ports(two)),
        (vec![(443, 443), (80, 9090)], vec![(443, 443), (80, 8080)])
    );
    assert_eq!((one.capacity, two.capacity), (Some(0), None));
    let locality = one.locality.as_ref().unwrap();
    assert_eq!(
        (locality.region.as_str(), locality.zone.as_str()),
        ("eu", "a")
    );
}

#[test]
fn nothing_of_the_cluster_is_taken_or_reached() {
    let address = |ip: &str| {
        with(
            entry("demo", "api", json!(["api.example.com"])),
            "addresses",
            json!([ip]),
        )
    };
    let cluster = [
        mesh(json!({"clusterCIDRs": ["10.0.0.0/16"]})),
        service("other", "web", "web", "10.96.0.1"),
        pod_value("other", "p", "172.16.0.7"),
        waypoint("other", "gate", "172.16.0.9"),
    ];
    let made = |entry: Value| {
        let mut world = world(&[&cluster[..], &[entry]].concat());
        make(&mut world, "demo/api")
    };
    for taken in [
        "10.0.3.4",
        "10.96.0.1",
        "172.16.0.7",
        "172.16.0.9",
        "240.240.7.7",
    ] {
        let own = made(address(taken));
        assert_eq!(
            own.said,
            ["Accepted AddressConflict spec.addresses[0]"],
            "{taken}"
        );
        assert!(
            own.services.is_empty() && own.workloads.is_empty(),
            "{taken}"
        );
        let to = made(fixed(json!([{"address": "192.0.2.1"}, {"address": taken}])));
        assert_eq!(
            to.said,
            ["Accepted EndpointInCluster spec.endpoints[1].address"],
            "{taken}"
        );
        assert_eq!((to.services.len(), to.workloads.len()), (1, 1), "{taken}");
    }
    assert_eq!(made(address("192.0.2.9")).vips(), ["192.0.2.9"]);
    for host in [
        "web.other.svc.cluster.local",
        "x.cluster.local",
        "web.other.svc",
        "web.demo.svc.cluster.local",
    ] {
        let named = made(entry("demo", "api", json!([host, "api.example.com"])));
        assert_eq!(named.said, ["Accepted HostReserved spec.hosts[0]"]);
        assert_eq!(named.hosts(), ["api.example.com"]);
        let by_name = with(
            entry("demo", "api", json!(["api.example.com"])),
            "endpoints",
            json!([{"address": host}]),
        );
        let to = made(by_name);
        assert_eq!(
            to.said,
            ["Accepted EndpointInCluster spec.endpoints[0].address"]
        );
        assert!(to.workloads.is_empty());
    }
}

#[test]
fn the_oldest_of_a_namespace_has_the_host_and_others_keep_theirs() {
    let shared = json!(["api.example.com"]);
    let mut world = world(&[
        aged(
            entry(
                "demo",
                "young",
                json!(["api.example.com", "own.example.com"]),
            ),
            2026,
        ),
        aged(entry("demo", "old", shared.clone()), 2025),
        aged(entry("far", "oldest", shared), 2020),
    ]);
    let young = make(&mut world, "demo/young");
    assert_eq!(young.hosts(), ["own.example.com"]);
    assert_eq!(young.said, ["Accepted HostConflict spec.hosts[0]"]);
    for other in ["demo/old", "far/oldest"] {
        let made = make(&mut world, other);
        assert_eq!(
            (made.hosts(), made.said.len()),
            (vec!["api.example.com".to_owned()], 0),
            "{other}"
        );
    }
}

#[test]
fn other_namespaces_know_what_the_mesh_lets_be_exported_and_nothing_else() {
    let ask = |namespace: &str, to: &str, year: u32| {
        aged(
            with(
                entry(namespace, "api", json!(["api.example.com"])),
                "exportTo",
                json!([to]),
            ),
            year,
        )
    };
    let root = aged(
        entry("culvert-system", "api", json!(["root.example.com"])),
        2026,
    );
    let made = |config: Value, of: &str, entries: &[Value]| {
        let mut world = world(&[&[mesh(config)], entries].concat());
        let made = make(&mut world, of);
        (made.hosts().join(" "), made.said.join(" "))
    };
    let private = |said: &str| ("api.example.com".to_owned(), said.to_owned());
    let public = ("api.example.com*".to_owned(), String::new());
    let nobody = json!({});
    let egress = json!({"serviceEntries": {"exportFrom": ["egress"]}});
    let all = json!({"serviceEntries": {"exportFrom": ["*"]}});
    let not_allowed = private("Accepted ExportNotAllowed spec.exportTo");
    assert_eq!(
        made(nobody.clone(), "demo/api", &[ask("demo", "*", 2026)]),
        not_allowed
    );
    assert_eq!(
        made(egress.clone(), "demo/api", &[ask("demo", "*", 2026)]),
        not_allowed
    );
    assert_eq!(
        made(egress.clone(), "egress/api", &[ask("egress", "*", 2026)]),
        public
    );
    assert_eq!(
        made(all.clone(), "demo/api", &[ask("demo", "*", 2026)]),
        public
    );
    assert_eq!(
        made(all.clone(), "demo/api", &[ask("demo", ".", 2026)]),
        private("")
    );
    let of_root = made(nobody, "culvert-system/api", &[root]);
    assert_eq!(of_root, ("root.example.com*".to_owned(), String::new()));
    // Of two that would export one host the older does; the other's own clients keep it.
    let both = [ask("demo", "*", 2026), ask("egress", "*", 2025)];
    assert_eq!(made(all.clone(), "egress/api", &both), public);
    assert_eq!(
        made(all, "demo/api", &both),
        private("Accepted ExportConflict spec.hosts[0]")
    );
}

#[test]
fn a_waypoint_that_is_asked_for_is_never_passed_by() {
    let mut through = entry("demo", "api", json!(["api.example.com"]));
    through["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let hostname = |made: &Made| {
        let waypoint = made.services[0].waypoint.as_ref()?.destination.as_ref()?;
        match waypoint {
            culvert_proto::istio::workload::gateway_address::Destination::Hostname(name) => {
                Some(name.hostname.clone())
            }
            culvert_proto::istio::workload::gateway_address::Destination::Address(address) => {
                Some(names::address(&address.address)?.to_string())
            }
        }
    };
    // Not there, there and not ready, ready.
    let mut absent = world(&[through.clone()]);
    let made = make(&mut absent, "demo/api");
    assert_eq!(hostname(&made).unwrap(), "gate.demo.waypoint.invalid");
    let mut there = world(&[through, waypoint("demo", "gate", "10.0.0.9")]);
    let made = make(&mut there, "demo/api");
    assert_eq!(hostname(&made).unwrap(), "gate.demo.waypoint.invalid");
    assert_eq!(made.said, ["Programmed WaypointPending spec.hosts"]);
    let consumer = Consumer::Entry(NsName::new("demo", "api"));
    there
        .waypoints
        .program(&NsName::new("demo", "gate"), &consumer);
    let made = make(&mut there, "demo/api");
    assert_eq!(
        (hostname(&made).unwrap().as_str(), made.said.len()),
        ("10.0.0.9", 0)
    );
    // Somebody is to decide who may call it, and nobody is there who could.
    let target = json!([{"group": "culvert.dev", "kind": "ServiceEntry", "name": "api"}]);
    let policy = culvert(
        "AuthorizationPolicy",
        "demo",
        "p",
        json!({"targetRefs": target}),
    );
    let mut guarded = world(&[entry("demo", "api", json!(["api.example.com"])), policy]);
    let made = make(&mut guarded, "demo/api");
    assert_eq!(hostname(&made).unwrap(), "api.demo.waypoint.invalid");
}

#[test]
fn the_namespaces_waypoint_is_its_entries_too() {
    let labelled = namespace("demo", json!({"culvert.dev/use-waypoint": "gate"}));
    let mut world = world(&[labelled, entry("demo", "api", json!(["api.example.com"]))]);
    let made = make(&mut world, "demo/api");
    assert!(made.services[0].waypoint.is_some());
}

fn written(entry: &Value, given: &[(&str, &str)]) -> Value {
    let mut entry = entry.clone();
    let one = |(host, value): &(&str, &str)| json!({"host": host, "value": value});
    entry["status"] = json!({"addresses": given.iter().map(one).collect::<Vec<_>>()});
    entry
}

fn on_kubernetes(objects: &[Value]) -> World {
    let mut world = world(objects);
    world.addresses = Addresses::Written;
    world
}

#[test]
fn on_kubernetes_an_address_counts_once_it_is_written_and_only_for_the_older() {
    let a = aged(entry("demo", "a", json!(["a.example.com"])), 2025);
    let b = aged(entry("demo", "b", json!(["b.example.com"])), 2026);
    let mut world = on_kubernetes(&[a.clone(), b.clone()]);
    let made = make(&mut world, "demo/a");
    assert!(made.services.is_empty() && made.workloads.is_empty());
    assert_eq!(made.said, ["Programmed AddressPending spec.hosts"]);
    let wishes = wishes(&world);
    let wish = |name: &str| wishes[&NsName::new("demo", name)].status(&Value::Null);
    assert_eq!(
        (
            wish("a").as_array().unwrap().len(),
            wish("b").as_array().unwrap().len()
        ),
        (2, 2)
    );
    // Written, by whoever leads.
    let mut done = a.clone();
    done["status"] = json!({"addresses": wish("a")});
    let mut world = on_kubernetes(&[done, b.clone()]);
    assert_eq!(make(&mut world, "demo/a").vips().len(), 2);
    let again = super::wishes(&world);
    assert_eq!(
        again[&NsName::new("demo", "a")].status(&json!({})),
        wish("a"),
        "stays"
    );
    // The same written for both: the older has it, the other one is wished another.
    let same = [("a.example.com", "240.240.1.1")];
    let claimed = [
        ("b.example.com", "240.240.1.1"),
        ("b.example.com", "10.96.0.10"),
    ];
    let (a, b) = (written(&a, &same), written(&b, &claimed));
    let mut world = on_kubernetes(&[a, b.clone()]);
    assert_eq!(make(&mut world, "demo/a").vips(), ["240.240.1.1"]);
    assert_eq!(
        make(&mut world, "demo/b").vips(),
        Vec::<String>::new(),
        "nor one of the cluster's"
    );
    let wished = super::wishes(&world)[&NsName::new("demo", "b")]
        .status(&b["status"])
        .to_string();
    assert!(
        !wished.contains("240.240.1.1\"") && !wished.contains("10.96"),
        "{wished}"
    );
    // What was written after the wish was made stays.
    let newer = json!({"addresses": [{"host": "b.example.com", "value": "240.240.9.9"}]});
    let kept = super::wishes(&world)[&NsName::new("demo", "b")]
        .status(&newer)
        .to_string();
    assert!(kept.contains("240.240.9.9"), "{kept}");
}
