//! Whatever the order of events, lists, losses and mistakes: the state is that of a fresh list.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::Object;

fn service(name: &str, version: u64, port: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "d", "uid": "u", "resourceVersion": version.to_string()},
           "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]}})
}

fn looked(value: Value) -> News {
    News::There(Box::new(Looked::at(Kind::Service, value)))
}

/// What whoever gets the batches holds.
#[derive(Default)]
struct Holder(BTreeMap<Key, Object>);

impl Holder {
    fn take(&mut self, tables: &mut Tables) {
        for change in tables.batch().into_iter().flat_map(|batch| batch.changes) {
            match change {
                Change::Put(object, _) => drop(self.0.insert(object.key(), object)),
                Change::Remove(key) => {
                    assert!(self.0.remove(&key).is_some(), "{key} was not there");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        name: u8,
        port: u16,
        good: bool,
    },
    Delete(u8),
    /// The watch is lost, and what follows is not told.
    Lose,
    /// A list that ends (or is cut off after so many objects), and the watch is back.
    List(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, 1..9u16, prop::bool::weighted(0.8)).prop_map(|(name, port, good)| Step::Put { name, port, good }),
        2 => (0..6u8).prop_map(Step::Delete),
        1 => Just(Step::Lose),
        2 => prop::option::of(0..6usize).prop_map(Step::List),
    ]
}

proptest! {
    #[test]
    fn equals_a_fresh_list(steps in prop::collection::vec(step(), 1..60)) {
        let mut server = BTreeMap::new();
        let mut tables = Tables::new(Book::default());
        let mut holder = Holder::default();
        let (mut watching, mut version) = (false, 0);
        let list = |tables: &mut Tables, server: &BTreeMap<u8, Value>, stop: Option<usize>| {
            tables.take(News::Begin(Kind::Service));
            for value in server.values().take(stop.unwrap_or(usize::MAX)) {
                tables.take(looked(value.clone()));
            }
            if stop.is_none() {
                tables.take(News::End(Kind::Service));
            }
        };
        for step in steps.into_iter().chain([Step::List(None)]) {
            version += 1;
            match step {
                Step::Put { name, port, good } => {
                    let port = if good { i64::from(port) } else { -1 };
                    let value = service(&format!("s{name}"), version, port);
                    server.insert(name, value.clone());
                    if watching { tables.take(looked(value)); }
                }
                Step::Delete(name) => if server.remove(&name).is_some() && watching {
                    tables.take(News::Gone(Key { kind: Kind::Service, name: NsName::new("d", format!("s{name}")) }));
                },
                Step::Lose => watching = false,
                Step::List(stop) => {
                    list(&mut tables, &server, stop);
                    watching = stop.is_none();
                }
            }
            holder.take(&mut tables);
        }
        let mut fresh = Tables::new(Book::default());
        list(&mut fresh, &server, None);
        let mut expected = Holder::default();
        let rejected = |tables: &Tables| tables.rejections.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(rejected(&fresh), rejected(&tables));
        expected.take(&mut fresh);
        for key in rejected(&tables) {
            // Only a last good one may be held in place of what is wrong.
            if let Some(object) = holder.0.get(&key) {
                let effect = tables.rejections[&key].list[0].effect;
                prop_assert_eq!(effect, Effect::LastGood);
                expected.0.insert(key, object.clone());
            }
        }
        prop_assert_eq!(expected.0, holder.0);
    }
}

#[test]
fn a_list_that_is_cut_off_takes_nothing_away() {
    let mut tables = Tables::new(Book::default());
    let mut holder = Holder::default();
    for news in [
        News::Begin(Kind::Service),
        looked(service("a", 1, 80)),
        looked(service("b", 2, 80)),
        News::End(Kind::Service),
        News::Begin(Kind::Service),
        looked(service("a", 1, 80)),
    ] {
        tables.take(news);
    }
    holder.take(&mut tables);
    assert_eq!(holder.0.len(), 2);
    for news in [
        News::Begin(Kind::Service),
        looked(service("b", 2, 80)),
        News::End(Kind::Service),
    ] {
        tables.take(news);
    }
    let batch = tables.batch().unwrap();
    assert_eq!(batch.changes.len(), 1, "what is the same is not told again");
    assert!(tables.batch().is_none());
}

#[test]
fn a_mistake_keeps_the_last_good_one_and_is_told() {
    let mut tables = Tables::new(Book::default());
    tables.take(looked(service("a", 1, 80)));
    tables.batch();
    tables.take(looked(service("a", 2, -1)));
    let batch = tables.batch().unwrap();
    assert!(batch.changes.is_empty());
    let rejection = &batch.rejections[0];
    assert_eq!(rejection.object, "Service d/a");
    assert_eq!(rejection.field, "spec.ports[0].port");
    assert_eq!(rejection.effect, Effect::LastGood);
    tables.take(looked(service("a", 3, 81)));
    let batch = tables.batch().unwrap();
    assert_eq!((batch.changes.len(), batch.rejections.len()), (1, 0));
}

#[test]
fn mistakes_in_routes_of_others_are_theirs() {
    let route = |name: &str, parents: Value| {
        let value = json!({"metadata": {"name": name, "namespace": "d", "uid": "u", "resourceVersion": "1"},
            "spec": {"parentRefs": parents, "fieldOfTomorrow": 1}});
        News::There(Box::new(Looked::at(Kind::HttpRoute, value)))
    };
    let gateway = |version: &str, class: &str| {
        let value = json!({"metadata": {"name": "edge", "namespace": "d", "uid": "u", "resourceVersion": version},
            "spec": {"gatewayClassName": class, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}});
        News::There(Box::new(Looked::at(Kind::Gateway, value)))
    };
    let mut tables = Tables::default();
    tables.take(route("of-edge", json!([{"name": "edge"}])));
    tables.take(route(
        "of-mesh",
        json!([{"name": "x"}, {"group": "", "kind": "Service", "name": "a"}]),
    ));
    let mut rejected = |news: Option<News>| {
        news.into_iter().for_each(|news| tables.take(news));
        let rejections = tables.batch().unwrap().rejections;
        rejections.into_iter().map(|r| r.object).collect::<Vec<_>>()
    };
    assert_eq!(rejected(None), ["HTTPRoute d/of-mesh"]);
    let both = ["HTTPRoute d/of-edge", "HTTPRoute d/of-mesh"];
    assert_eq!(rejected(Some(gateway("2", "culvert"))), both);
    assert_eq!(
        rejected(Some(gateway("3", "nginx"))),
        ["HTTPRoute d/of-mesh"]
    );
}
