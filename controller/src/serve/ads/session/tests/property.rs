//! Whatever happens to the mesh, to the stream and to what is asked for: what a client has is what it would get afresh.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::engine::property::candidates;

const KINDS: [Type; 3] = [Type::Authorization, Type::Address, Type::Pod];
const NAMES: [&str; 6] = [
    "/10.0.0.2",
    "/10.96.0.1",
    "demo/v2.demo.svc.cluster.local",
    "far/web.far.svc.cluster.local",
    "Kubernetes//Pod/demo/a",
    "/192.0.2.1",
];

#[derive(Clone, Debug)]
enum Op {
    Put(Index, Index),
    Remove(Index),
    Captured,
    /// All clients are pushed to.
    Push,
    /// One of them loses its stream; who serves it then may lag, and has caught up at the next push.
    Cut(Index, bool),
    /// One that asks for what it needs asks for more, or for less.
    Ask(Index, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<Index>(), any::<Index>()).prop_map(|(i, j)| Op::Put(i, j)),
        3 => any::<Index>().prop_map(Op::Remove),
        1 => Just(Op::Captured),
        4 => Just(Op::Push),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(i, lags)| Op::Cut(i, lags)),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(i, more)| Op::Ask(i, more)),
    ]
}

/// A client that does as it is told.
struct Told {
    client: Client,
    /// The names that it asked for, if it asks for what it needs.
    names: Option<BTreeSet<String>>,
    session: Session,
    has: BTreeMap<(Type, String), String>,
}

impl Told {
    fn new(client: Client, by_name: bool, snapshot: &Snapshot) -> Self {
        let mut told = Self {
            session: Session::new(client.clone(), false),
            client,
            names: by_name.then(BTreeSet::new),
            has: BTreeMap::new(),
        };
        told.connect(snapshot, false);
        told
    }

    fn connect(&mut self, snapshot: &Snapshot, lags: bool) {
        self.session = Session::new(self.client.clone(), lags);
        for kind in KINDS {
            let mut request = subscribe(kind);
            let known = self.has.iter().filter(|((of, _), _)| *of == kind);
            request.initial_resource_versions = known
                .map(|((_, name), version)| (name.clone(), version.clone()))
                .collect();
            if let (Type::Address, Some(names)) = (kind, &mut self.names) {
                if names.is_empty() {
                    // As Istio's client does it, who names what it has in no other way.
                    names.extend(request.initial_resource_versions.keys().cloned());
                }
                request.resource_names_subscribe = names.iter().cloned().collect();
                request.resource_names_subscribe.push("*".into());
                request.resource_names_unsubscribe = vec!["*".into()];
            }
            self.request(snapshot, request);
        }
    }

    fn request(&mut self, snapshot: &Snapshot, request: DeltaDiscoveryRequest) {
        let (_, response) = self.session.request(snapshot, request).unwrap();
        self.receive(snapshot, response.into_iter().collect());
    }

    fn receive(&mut self, snapshot: &Snapshot, responses: Vec<Response>) {
        for response in responses {
            for name in &response.delta.removed {
                self.has.remove(&(response.kind, name.clone()));
            }
            for served in &response.delta.resources {
                let name = (response.kind, served.name.to_string());
                self.has.insert(name, served.version.to_string());
            }
            take(&mut self.session, snapshot, &[response]);
        }
    }

    fn push(&mut self, snapshot: &Snapshot) {
        self.session.caught_up();
        let responses = self.session.push(snapshot);
        self.receive(snapshot, responses);
    }
}

/// What belongs to these names and to the node, found the long way: everything is looked up again.
fn belongs(snapshot: &Snapshot, names: &BTreeSet<String>) -> BTreeMap<(Type, String), String> {
    let all = snapshot.all(Type::Address);
    let find = |name: &str| {
        let alias = || all.get(snapshot.aliases.get(name)?);
        all.get(name).or_else(alias)
    };
    let mut found = Vec::new();
    let with_endpoints = |name: &str| {
        let served = find(name)?;
        let endpoints = snapshot.endpoints.get(&served.name).into_iter().flatten();
        let endpoints = endpoints.filter_map(|uid| all.get(uid)).cloned();
        Some((
            served,
            endpoints.chain([served.clone()]).collect::<Vec<_>>(),
        ))
    };
    let mut lead = Vec::new();
    let external = snapshot.external.iter().map(|name| &**name);
    for name in names.iter().map(String::as_str).chain(external) {
        if let Some((served, some)) = with_endpoints(name) {
            found.extend(some);
            lead.extend(served.waypoint.clone());
        }
    }
    let node = snapshot.nodes.get("n1");
    for uid in node.iter().flat_map(|node| node.pods.keys()) {
        let Some(pod) = all.get(uid) else { continue };
        let services = pod.services.iter().filter_map(|service| find(service));
        for served in services.chain([pod]) {
            found.push(served.clone());
            lead.extend(served.waypoint.clone());
        }
    }
    for waypoint in lead {
        found.extend(
            with_endpoints(&waypoint)
                .into_iter()
                .flat_map(|(_, some)| some),
        );
    }
    let entry = |served: Arc<crate::engine::Served>| {
        let name = (Type::Address, served.name.to_string());
        (name, served.version.to_string())
    };
    found.into_iter().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_has_is_what_it_would_get_afresh(ops in prop::collection::vec(op(), 1..40)) {
        let candidates = candidates();
        let mut engine = engine(&[]);
        let start = snapshot(&engine);
        let gate = Client::Waypoint(NsName::new("demo", "gate"));
        let mut clients = [(node(), false), (node(), true), (gate, false)]
            .map(|(client, by_name)| Told::new(client, by_name, &start));
        let mut present: BTreeMap<usize, Value> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put(i, j) => {
                    let i = i.index(candidates.len());
                    let value = candidates[i][j.index(candidates[i].len())].clone();
                    present.insert(i, value.clone());
                    engine.step(Event::Batch(batch(&[value])));
                }
                Op::Remove(i) => {
                    if let Some(value) = present.remove(&i.index(candidates.len())) {
                        engine.step(super::remove(&value));
                    }
                }
                Op::Captured => engine.step(crate::engine::tests::captured("a")),
                Op::Push => {}
                Op::Cut(i, lags) => i.get_mut(&mut clients).connect(&snapshot(&engine), lags),
                Op::Ask(i, more) => {
                    let name = i.get(&NAMES).to_string();
                    let mut request = subscribe(Type::Address);
                    let names = clients[1].names.as_mut().unwrap();
                    if more {
                        names.insert(name.clone());
                        request.resource_names_subscribe = vec![name];
                    } else if names.remove(&name) {
                        request.resource_names_unsubscribe = vec![name];
                    }
                    clients[1].request(&snapshot(&engine), request);
                }
            }
            if !matches!(op, Op::Push) {
                continue;
            }
            let snapshot = snapshot(&engine);
            for told in &mut clients {
                told.push(&snapshot);
                let mut fresh = Told::new(told.client.clone(), false, &Snapshot::default());
                fresh.names = told.names.clone();
                fresh.connect(&snapshot, false);
                prop_assert_eq!(&told.has, &fresh.has, "{} by name: {:?}", told.client, told.names);
                if let Some(names) = &told.names {
                    let mut has = told.has.clone();
                    has.retain(|(kind, _), _| *kind == Type::Address);
                    prop_assert_eq!(has, belongs(&snapshot, names), "{:?}", names);
                }
            }
        }
    }
}
