//! A client that asks for what it needs: whatever is asked for, changes, is given back or lost with a stream, it holds
//! what the server has under the names in use, and knows of each whether there is anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use culvert_proto::ads::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use culvert_proto::istio::workload::address::Type;
use culvert_proto::type_url::ADDRESS;
use culvert_xds::protocol::Machine;
use culvert_xds::state::Settings;
use culvert_xds::{Demand, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use crate::common::{address, uid, wire, workload};

const PODS: u8 = 4;

fn ip(address: u8) -> String {
    format!("10.0.0.{}", address + 1)
}

fn alias(address: u8) -> String {
    format!("/{}", ip(address))
}

#[derive(Clone, Debug)]
enum Step {
    /// A pod has this address now.
    Put(u8, u8),
    Remove(u8),
    /// A connection to this address.
    Want(u8),
    /// Nobody uses any name any more.
    Idle,
    /// The stream is lost.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..PODS, 0..PODS).prop_map(|(pod, address)| Step::Put(pod, address)),
        2 => (0..PODS).prop_map(Step::Remove),
        4 => (0..PODS).prop_map(Step::Want),
        1 => Just(Step::Idle),
        1 => Just(Step::Cut),
    ]
}

/// A server as the controller is one, and the client.
struct World {
    /// Addresses of pods.
    pods: BTreeMap<u8, u8>,
    names: BTreeSet<String>,
    /// Versions of what the client was sent.
    sent: BTreeMap<String, String>,
    machine: Machine,
    store: Store,
    demand: Demand,
    wanted: BTreeSet<u8>,
}

impl World {
    fn new() -> Self {
        let demand = Demand::new();
        Self {
            pods: BTreeMap::new(),
            names: BTreeSet::new(),
            sent: BTreeMap::new(),
            machine: Machine::new(ads::Node::default(), &[ADDRESS]).on_demand(demand.clone()),
            store: Store::new(Settings::default()),
            demand,
            wanted: BTreeSet::new(),
        }
    }

    /// Of the pods whose addresses are asked for: name and version.
    fn due(&self) -> BTreeMap<String, (u8, String)> {
        let asked = self
            .pods
            .iter()
            .filter(|(_, a)| self.names.contains(&alias(**a)));
        asked
            .map(|(pod, a)| (uid(&pod.to_string()), (*pod, a.to_string())))
            .collect()
    }

    /// Take what the client sends; answer each of its names, and bring the rest up to date.
    fn take(&mut self, request: Option<DeltaDiscoveryRequest>) {
        let Some(request) = request else { return };
        let mut answer = BTreeSet::new();
        for name in request.resource_names_subscribe {
            if name != "*" {
                answer.insert(name.clone());
                self.names.insert(name);
            }
        }
        for name in request.resource_names_unsubscribe {
            self.names.remove(&name);
        }
        self.push(&answer);
    }

    fn push(&mut self, answer: &BTreeSet<String>) {
        let due = self.due();
        let news = due.iter().filter(|(name, (pod, version))| {
            self.sent.get(*name) != Some(version) || answer.contains(&alias(self.pods[pod]))
        });
        let resource = |(name, (pod, version)): (&String, &(u8, String))| {
            let mut workload = workload(&pod.to_string(), &ip(self.pods[pod]));
            workload.uid.clone_from(name);
            let mut resource = wire(ADDRESS, name, version, address(Type::Workload(workload)));
            resource.aliases = vec![alias(self.pods[pod])];
            resource
        };
        let resources: Vec<_> = news.map(resource).collect();
        let gone = self.sent.keys().filter(|name| !due.contains_key(*name));
        let nothing = answer
            .iter()
            .filter(|name| !self.pods.values().any(|address| alias(*address) == **name));
        let removed: Vec<_> = gone.chain(nothing).cloned().collect();
        if resources.is_empty() && removed.is_empty() {
            return;
        }
        self.sent = due
            .into_iter()
            .map(|(name, (_, version))| (name, version))
            .collect();
        let response = DeltaDiscoveryResponse {
            type_url: ADDRESS.into(),
            nonce: "n".into(),
            resources,
            removed_resources: removed,
            ..Default::default()
        };
        let message = response.encode_to_vec().into();
        let reply = self.machine.receive(message, &mut self.store).unwrap();
        assert_eq!(reply.rejected, []);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(pod, address) => drop(self.pods.insert(*pod, *address)),
            Step::Remove(pod) => drop(self.pods.remove(pod)),
            Step::Want(address) => {
                let known = self.demand.want(&alias(*address));
                assert_eq!(known, !self.wanted.insert(*address));
                let request = self.machine.ask();
                assert_eq!(request.is_none(), known, "a name is asked for once");
                self.take(request);
            }
            Step::Idle => {
                let request = self.machine.give_back(Duration::ZERO);
                assert_eq!(request.is_none(), self.wanted.is_empty());
                self.wanted.clear();
                self.take(request);
            }
            Step::Cut => {
                let request = self.machine.connect().remove(0);
                assert_eq!(request.resource_names_unsubscribe, ["*"]);
                self.names.clear();
                self.sent = request
                    .initial_resource_versions
                    .clone()
                    .into_iter()
                    .collect();
                self.take(Some(request));
            }
        }
        self.push(&BTreeSet::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_holds_what_there_is_under_the_names_in_use(steps in vec(step(), 0..40)) {
        let mut world = World::new();
        world.step(&Step::Cut);
        for step in steps {
            world.step(&step);
            let snapshot = world.store.snapshot();
            let held: BTreeSet<_> = snapshot.workloads().map(|w| w.uid().to_string()).collect();
            let due: BTreeSet<_> = world.due().into_keys().collect();
            prop_assert_eq!(held, due, "{:?}", step);
            for address in 0..PODS {
                let name = alias(address);
                prop_assert_eq!(world.demand.is_answered(&name), world.wanted.contains(&address));
                if world.demand.is_answered(&name) {
                    let known = snapshot.workload_by_ip(ip(address).parse().unwrap()).is_some();
                    prop_assert_eq!(known, world.pods.values().any(|a| *a == address));
                }
            }
        }
    }
}

#[test]
fn one_that_has_grown_takes_all_and_answers_who_waits() {
    let mut world = World::new();
    world.step(&Step::Put(1, 1));
    world.step(&Step::Put(2, 2));
    world.step(&Step::Cut);
    world.step(&Step::Want(1));
    assert_eq!(world.store.snapshot().workloads().count(), 1);
    // Asked for when the stream is gone already.
    assert!(!world.demand.want(&alias(2)));
    assert!(!world.machine.is_grown());
    world.machine.grow();
    let request = world.machine.connect().remove(0);
    let asked: BTreeSet<_> = request.resource_names_subscribe.into_iter().collect();
    let expected = ["*".to_owned(), alias(1), alias(2)];
    assert_eq!(asked, expected.into_iter().collect());
    assert!(request.resource_names_unsubscribe.is_empty());
    assert_eq!(request.initial_resource_versions.len(), 1);
    assert!(!world.demand.is_whole() && !world.demand.want(&alias(3)));
    // The first response of this stream has all.
    world.names.extend([alias(1), alias(2)]);
    world.push(&BTreeSet::from([alias(2)]));
    assert!(world.demand.is_whole() && world.demand.want(&alias(4)));
    assert_eq!(world.store.snapshot().workloads().count(), 2);
    let late = world.machine.ask().unwrap();
    assert_eq!(
        late.resource_names_subscribe,
        [alias(3)],
        "who asked is told"
    );
    let request = world.machine.connect().remove(0);
    assert!(request.resource_names_subscribe.is_empty());
}
