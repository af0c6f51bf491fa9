//! Whatever a server sends in whatever pieces, through lost streams, lost acknowledgements, duplicates and bad resources:
//! the store ends up as a fresh sync of the last good version of everything would leave it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use culvert_proto::ads::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use culvert_proto::istio::security as policy_proto;
use culvert_proto::istio::workload as proto;
use culvert_proto::type_url::{ADDRESS, AUTHORIZATION, MESH_SETTINGS};
use culvert_xds::Store;
use culvert_xds::protocol::Machine;
use culvert_xds::state::{Settings, Snapshot};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use prost::Message as _;

use crate::common::{address, rule, settings, target, wire};

const TYPES: &[&str] = &[MESH_SETTINGS, AUTHORIZATION, ADDRESS];
const IPS: &[&str] = &["10.0.0.1", "10.0.0.2", "fd00::1"];
const SERVICES: &[&str] = &["one/a.x", "one/b.x", "two/a.x"];
const POLICIES: &[&str] = &["one/p", "one/q", "two/p", "root/p"];

/// Type and name of a resource.
type Name = (&'static str, String);

/// What a server may hold under a name.
#[derive(Clone, Debug)]
struct Item {
    name: Name,
    body: Option<Vec<u8>>,
    good: bool,
}

impl Item {
    fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        format!("{:x}", hasher.finish())
    }

    fn wire(&self) -> ads::Resource {
        let (type_url, name) = &self.name;
        let mut resource = wire(
            type_url,
            name,
            &self.version(),
            self.body.clone().unwrap_or_default(),
        );
        if self.body.is_none() {
            resource.resource = None;
        }
        resource
    }
}

// === What can be sent ===

fn flag() -> impl Strategy<Value = bool> {
    any::<bool>()
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(names, 0..=names.len())
}

fn network_address(ip: &str) -> proto::NetworkAddress {
    proto::NetworkAddress {
        network: String::new(),
        address: crate::common::ip_bytes(ip),
        length: None,
    }
}

fn workload() -> impl Strategy<Value = Item> {
    let spec = (
        some_of(IPS),
        some_of(SERVICES),
        some_of(POLICIES),
        0u32..2,
        flag(),
        flag(),
        flag(),
    );
    (0..4usize, spec).prop_map(
        |(index, (ips, services, policies, port, hbone, own, host))| {
            let ports = vec![proto::Port {
                service_port: 80,
                target_port: 8080,
                app_protocol: 0,
            }];
            let ports = proto::PortList {
                ports: if port == 0 { vec![] } else { ports },
            };
            let workload = proto::Workload {
                uid: format!("w{index}"),
                name: format!("w{index}"),
                namespace: ["one", "two"][index % 2].into(),
                addresses: ips.iter().map(|ip| crate::common::ip_bytes(ip)).collect(),
                tunnel_protocol: i32::from(hbone),
                status: i32::from(own && hbone),
                trust_domain: if own {
                    "own.example".into()
                } else {
                    String::new()
                },
                services: services
                    .iter()
                    .map(|key| ((*key).to_owned(), ports.clone()))
                    .collect(),
                authorization_policies: policies.iter().map(|name| (*name).to_owned()).collect(),
                network_mode: i32::from(host),
                ..Default::default()
            };
            Item {
                name: (ADDRESS, workload.uid.clone()),
                body: Some(address(proto::address::Type::Workload(workload))),
                good: true,
            }
        },
    )
}

fn service() -> impl Strategy<Value = Item> {
    (select(SERVICES), some_of(IPS), 0u32..3, flag()).prop_map(
        |(key, vips, target_port, canonical)| {
            let (namespace, hostname) = key.split_once('/').unwrap();
            let service = proto::Service {
                name: hostname.into(),
                namespace: namespace.into(),
                hostname: hostname.into(),
                addresses: vips.iter().map(|ip| network_address(ip)).collect(),
                ports: vec![proto::Port {
                    service_port: 80,
                    target_port,
                    app_protocol: 0,
                }],
                canonical,
                ..Default::default()
            };
            Item {
                name: (ADDRESS, key.into()),
                body: Some(address(proto::address::Type::Service(service))),
                good: true,
            }
        },
    )
}

fn policy() -> impl Strategy<Value = Item> {
    let targets = vec((select(SERVICES), 80u32..82), 0..3);
    (
        select(POLICIES),
        0..3i32,
        0..2i32,
        select(vec!["x", "y"]),
        targets,
        flag(),
    )
        .prop_map(|(name, scope, action, from, targets, for_services)| {
            let (namespace, short) = name.split_once('/').unwrap();
            let targets = targets
                .iter()
                .map(|(service, port)| target(service, port - 80));
            let policy = policy_proto::Authorization {
                name: short.into(),
                namespace: namespace.into(),
                scope,
                action,
                rules: vec![rule(from)],
                extensions: if for_services {
                    targets.collect()
                } else {
                    vec![]
                },
                ..Default::default()
            };
            Item {
                name: (AUTHORIZATION, name.into()),
                body: Some(policy.encode_to_vec()),
                good: true,
            }
        })
}

fn mesh_settings() -> impl Strategy<Value = Item> {
    let spec = (
        select(vec!["a.example", "b.example"]),
        select(vec!["root", "one"]),
    );
    spec.prop_map(|(trust_domain, root)| Item {
        name: (MESH_SETTINGS, "default".into()),
        body: Some(settings(trust_domain, root).encode_to_vec()),
        good: true,
    })
}

fn good() -> impl Strategy<Value = Item> {
    prop_oneof![4 => workload(), 2 => service(), 4 => policy(), 1 => mesh_settings()]
}

/// The same name with a body that no version of it could have.
fn bad() -> impl Strategy<Value = Item> {
    let garbage = select(vec![None, Some(vec![0xff; 5]), Some(vec![0x0a, 0x01])]);
    (good(), garbage).prop_map(|(item, body)| Item {
        body,
        good: false,
        ..item
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// The server's configuration changes.
    Put(Item),
    Remove(Index),
    /// The server sends all that it has not sent.
    Push,
    /// The server sends one type's part of it, with what is removed and added again in one response, and with an outdated
    /// copy before the current one.
    PushSome {
        type_index: Index,
        upto: usize,
        readd: Index,
        outdated: Option<Item>,
    },
    /// The stream is lost.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let some = (
        any::<Index>(),
        0..4usize,
        any::<Index>(),
        proptest::option::of(good()),
    );
    prop_oneof![
        6 => good().prop_map(Step::Put),
        2 => bad().prop_map(Step::Put),
        3 => any::<Index>().prop_map(Step::Remove),
        3 => Just(Step::Push),
        3 => some.prop_map(|(type_index, upto, readd, outdated)| Step::PushSome { type_index, upto, readd, outdated }),
        1 => Just(Step::Cut),
    ]
}

// === The server, the client, and what is expected ===

struct World {
    /// What the server has.
    current: BTreeMap<Name, Item>,
    /// What the server believes that the client has, by version.
    sent: BTreeMap<Name, String>,
    machine: Machine,
    store: Store,
    /// The last good version of everything that was delivered, and the last bad one where there is no good one.
    expected: BTreeMap<Name, Item>,
}

impl World {
    fn new() -> Self {
        Self {
            current: BTreeMap::new(),
            sent: BTreeMap::new(),
            machine: Machine::new(ads::Node::default(), TYPES),
            store: Store::new(Settings::default()),
            expected: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(item) => {
                self.current.insert(item.name.clone(), item);
            }
            Step::Remove(index) => {
                let names: Vec<_> = self.current.keys().cloned().collect();
                if !names.is_empty() {
                    self.current.remove(index.get(&names));
                }
            }
            Step::Push => TYPES
                .iter()
                .for_each(|url| self.push(url, usize::MAX, None, None)),
            Step::PushSome {
                type_index,
                upto,
                readd,
                outdated,
            } => {
                let type_url = *type_index.get(TYPES);
                let outdated = outdated.filter(|item| item.name.0 == type_url);
                self.push(type_url, upto, Some(readd), outdated);
            }
            Step::Cut => self.cut(),
        }
    }

    /// A new stream: the server knows only what the client says.
    fn cut(&mut self) {
        self.sent.clear();
        for DeltaDiscoveryRequest {
            type_url,
            initial_resource_versions,
            ..
        } in self.machine.connect()
        {
            let url = *TYPES.iter().find(|url| **url == type_url).unwrap();
            for (name, version) in initial_resource_versions {
                self.sent.insert((url, name), version);
            }
        }
    }

    fn push(
        &mut self,
        url: &'static str,
        upto: usize,
        readd: Option<Index>,
        outdated: Option<Item>,
    ) {
        let changed = self.current.values().filter(|item| {
            item.name.0 == url && self.sent.get(&item.name) != Some(&item.version())
        });
        let changed: Vec<Item> = changed.take(upto).cloned().collect();
        let gone = self
            .sent
            .keys()
            .filter(|name| name.0 == url && !self.current.contains_key(*name));
        let gone: Vec<Name> = gone.take(upto).cloned().collect();
        let mut removed: Vec<String> = gone.iter().map(|name| name.1.clone()).collect();
        if let (Some(index), false) = (readd, changed.is_empty()) {
            removed.push(index.get(&changed).name.1.clone());
        }
        let mut resources: Vec<_> = changed.iter().map(Item::wire).collect();
        if let Some(outdated) =
            outdated.filter(|old| changed.iter().any(|new| new.name == old.name))
        {
            resources.insert(0, outdated.wire());
        }
        for item in &changed {
            self.sent.insert(item.name.clone(), item.version());
        }
        for name in &gone {
            self.sent.remove(name);
        }
        self.deliver(url, resources, removed);
        self.expect(&changed, &gone);
    }

    fn deliver(&mut self, url: &str, resources: Vec<ads::Resource>, removed: Vec<String>) {
        let response = DeltaDiscoveryResponse {
            type_url: url.into(),
            nonce: "n".into(),
            resources,
            removed_resources: removed,
            ..Default::default()
        };
        let message = response.encode_to_vec().into();
        self.machine.receive(message, &mut self.store).unwrap();
    }

    fn expect(&mut self, changed: &[Item], gone: &[Name]) {
        // Settings are never removed.
        for name in gone.iter().filter(|name| name.0 != MESH_SETTINGS) {
            self.expected.remove(name);
        }
        for item in changed {
            let known_good = self
                .expected
                .get(&item.name)
                .is_some_and(|known| known.good);
            if item.good || !known_good {
                self.expected.insert(item.name.clone(), item.clone());
            }
        }
    }

    /// A store that was told what is expected, once, one type after another.
    fn fresh(&self, order: &[&str]) -> Store {
        let mut fresh = World::new();
        for url in order {
            let items = self.expected.values().filter(|item| item.name.0 == *url);
            let resources = items.map(Item::wire).collect();
            fresh.deliver(url, resources, Vec::new());
        }
        fresh.store
    }
}

/// Everything in a snapshot but its version: every index, and the compiled sets after all were asked for.
fn contents(snapshot: &Snapshot) -> String {
    let text = format!("{snapshot:?}");
    text.split_once("settings:").unwrap().1.to_owned()
}

/// Everything that can be asked of a snapshot.
fn answers(snapshot: &Snapshot) -> Vec<String> {
    let mut answers = vec![format!("{:?}", snapshot.settings())];
    for workload in snapshot.workloads() {
        answers.push(format!("{workload:?}"));
        answers.push(format!("{:?}", snapshot.policies_for(workload)));
    }
    for policy in snapshot.policies() {
        answers.push(format!("{policy:?}"));
    }
    for ip in IPS.iter().map(|ip| ip.parse().unwrap()) {
        let workload = snapshot.workload_by_ip(ip).map(|workload| workload.uid());
        let service = snapshot.service_by_vip(ip).map(|service| &service.key);
        answers.push(format!("{ip} {workload:?} {service:?}"));
    }
    for hostname in ["a.x", "b.x"] {
        let services = snapshot
            .services_by_hostname(hostname)
            .map(|service| &service.key);
        answers.push(format!("{hostname} {:?}", services.collect::<Vec<_>>()));
    }
    for key in SERVICES {
        if let Some(service) = snapshot.service(key) {
            let endpoints = snapshot
                .endpoints(service, 80)
                .map(|e| (e.workload.uid(), e.port));
            answers.push(format!("{service:?} {:?}", endpoints.collect::<Vec<_>>()));
        }
        for port in [1, 2] {
            answers.push(format!("{:?}", snapshot.policies_for_service(key, port)));
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_history_equals_a_fresh_sync(steps in vec(step(), 0..40), order in Just(TYPES.to_vec()).prop_shuffle()) {
        let mut world = World::new();
        world.cut();
        for step in steps {
            world.step(step);
            let fresh = world.fresh(&order);
            prop_assert_eq!(answers(&world.store.snapshot()), answers(&fresh.snapshot()));
        }

        let fresh = world.fresh(&order).snapshot();
        prop_assert_eq!(answers(&world.store.snapshot()), answers(&fresh));
        prop_assert_eq!(contents(&world.store.snapshot()), contents(&fresh));

        // When all has been sent, client and server agree, whatever happened before.
        world.step(Step::Push);
        world.step(Step::Cut);
        for item in world.current.values().filter(|item| item.good) {
            prop_assert_eq!(world.sent.get(&item.name), Some(&item.version()));
        }
        for name in world.sent.keys().filter(|name| name.0 != MESH_SETTINGS) {
            prop_assert!(world.current.contains_key(name), "{:?} is still held", name);
        }
    }

    /// The entry points of fuzzing: no bytes whatever make them panic.
    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), type_index in any::<Index>()) {
        let mut world = World::new();
        let _ = world.machine.receive(bytes.clone().into(), &mut world.store);
        if let Ok(mut response) = DeltaDiscoveryResponse::decode(bytes.as_slice()) {
            response.type_url = (*type_index.get(TYPES)).into();
            let message = response.encode_to_vec().into();
            let _ = world.machine.receive(message, &mut world.store);
        }
        for url in TYPES {
            world.deliver(url, vec![wire(url, "one/p", "1", bytes.clone())], vec![]);
        }
        let _ = answers(&world.store.snapshot());
    }
}
