//! On Kubernetes: what proxies are told is what the cluster has in writing, whichever replica was told it, and whichever
//! starts next.

use serde_json::{Value, json};

use super::tests::{batch, captured};
use super::*;
use crate::admit::CAPTURED;
use crate::model::Purpose;
use crate::testing::{namespace, object, pod_value, service, waypoint as gateway};
use crate::translate::{Type, waypoint};
use crate::world::{Capture, Proof, Waypoints};

fn start(objects: &[Value], stored: BTreeMap<NsName, Purpose>) -> Engine {
    let world = World {
        capture: Capture::by(Proof::Condition),
        waypoints: Waypoints::of_ledger(stored),
        ..World::default()
    };
    Engine::new(world, batch(objects))
}

fn put(value: &Value) -> Event {
    Event::Batch(Batch {
        changes: vec![Change::Put(object(value), Origin::default())],
        ..Batch::default()
    })
}

fn remove(kind: Kind, name: &str) -> Event {
    let name = NsName::new("demo", name);
    Event::Batch(Batch {
        changes: vec![Change::Remove(Key { kind, name })],
        ..Batch::default()
    })
}

fn addresses(engine: &Engine) -> BTreeMap<String, String> {
    let all = engine.current().all(Type::Address);
    let served = all
        .values()
        .map(|s| (s.name.to_string(), s.version.to_string()));
    served.collect()
}

fn ambient() -> Value {
    namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"}))
}

fn written(condition: &Value) -> Value {
    let mut pod = pod_value("demo", "a", "10.0.0.1");
    pod["status"]["conditions"] = json!([condition]);
    pod
}

#[test]
fn a_report_that_is_not_written_down_changes_nothing_for_peers() {
    let objects = [ambient(), pod_value("demo", "a", "10.0.0.1")];
    let (mut heard, mut other) = (start(&objects, [].into()), start(&objects, [].into()));
    let before = addresses(&heard);
    heard.step(captured("a"));
    assert_eq!(addresses(&heard), before);
    // It dies here: the next start says the same as the replicas that live.
    assert_eq!(addresses(&start(&objects, [].into())), before);
    // Its write was done: all see it, the next start too.
    let pod = written(&json!({"type": CAPTURED, "status": "True", "reason": "Captured"}));
    for replica in [&mut heard, &mut other] {
        replica.step(put(&pod));
    }
    let after = addresses(&heard);
    assert_ne!(after, before);
    assert_eq!(addresses(&other), after);
    assert_eq!(addresses(&start(&[ambient(), pod], [].into())), after);
    // An agent's trouble is no way back to plaintext, neither for those who were there nor for the next start.
    let lost = written(&json!({"type": CAPTURED, "status": "False", "reason": "Lost"}));
    heard.step(put(&lost));
    assert_eq!(addresses(&heard), after);
    assert_eq!(
        addresses(&start(&[ambient(), lost.clone()], [].into())),
        after
    );
    // Its label is, whatever is still written.
    let left = namespace("demo", json!({}));
    heard.step(put(&left));
    assert_eq!(
        addresses(&heard),
        addresses(&start(&[left, lost], [].into()))
    );
    assert_ne!(addresses(&heard), after);
}

#[test]
fn a_condition_that_says_less_than_captured_proves_nothing() {
    for (status, reason) in [("False", "Pending"), ("False", "Failed"), ("Unknown", "x")] {
        let pod = written(&json!({"type": CAPTURED, "status": status, "reason": reason}));
        let engine = start(&[ambient(), pod], [].into());
        assert!(
            !engine.world.capture.is_hbone(&NsName::new("demo", "a")),
            "{reason}"
        );
    }
}

fn gate() -> NsName {
    NsName::new("demo", "gate")
}

fn mesh() -> Vec<Value> {
    let mut web = service("demo", "web", "a", "10.96.0.1");
    web["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    vec![
        ambient(),
        pod_value("demo", "a", "10.0.0.1"),
        web,
        // One that its owner runs.
        gateway("demo", "gate", "10.0.0.9"),
    ]
}

fn without_gateway() -> Vec<Value> {
    let mut objects = mesh();
    objects.pop();
    objects
}

fn web(engine: &Engine) -> waypoint::Use {
    let consumer = Consumer::Service(NsName::new("demo", "web"));
    waypoint::of(&engine.world, &consumer).0
}

fn acknowledge(engine: &mut Engine) {
    let client = Client::Waypoint(gate());
    engine.step(Event::Connected(client, Component::Waypoint));
    let scope = engine.current().waypoints[&gate()].clone();
    engine.step(Event::Programmed(gate(), scope));
}

#[test]
fn a_waypoint_is_mandatory_when_it_is_in_writing_and_not_before() {
    let mut engine = start(&mesh(), [].into());
    let wishes = engine.wishes();
    assert_eq!(*wishes.borrow(), Wishes::default());
    acknowledge(&mut engine);
    assert!(matches!(web(&engine), waypoint::Use::Pending(_)));
    let stored = wishes.borrow().keep.clone();
    assert_eq!(stored, [(gate(), Purpose::Service)].into());
    engine.step(Event::Stored(stored.clone()));
    assert!(matches!(web(&engine), waypoint::Use::Through(..)));
    assert_eq!(*wishes.borrow(), Wishes::default());
    // Its Gateway is deleted: refused by those who were there, and by the next start.
    engine.step(remove(Kind::Gateway, "gate"));
    assert!(matches!(web(&engine), waypoint::Use::Refused(..)));
    let next = start(&without_gateway(), stored.clone());
    assert!(matches!(web(&next), waypoint::Use::Refused(..)));
    assert_eq!(addresses(&next), addresses(&engine));
    assert_eq!(*next.wishes().borrow(), Wishes::default());
    // What nobody asked it for is not cut off: it was for services.
    let pod = Consumer::Pod(NsName::new("demo", "a"));
    let mut asking = without_gateway();
    asking[1]["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    let asking = start(&asking, stored);
    assert_eq!(waypoint::of(&asking.world, &pod).0, waypoint::Use::None);
}

#[test]
fn it_is_unlearned_when_nobody_asks_for_it_and_its_gateway_is_gone() {
    let stored: BTreeMap<_, _> = [(gate(), Purpose::Service)].into();
    let mut engine = start(&mesh(), stored.clone());
    let wishes = engine.wishes();
    let forget = Wishes {
        forget: [gate()].into(),
        ..Wishes::default()
    };
    let unlabelled = service("demo", "web", "a", "10.96.0.1");
    engine.step(put(&unlabelled));
    assert_eq!(*wishes.borrow(), Wishes::default());
    engine.step(remove(Kind::Gateway, "gate"));
    assert_eq!(*wishes.borrow(), forget);
    engine.step(Event::Stored(BTreeMap::new()));
    assert_eq!(*wishes.borrow(), Wishes::default());
    // Asked for again, there is nothing that it would have been programmed for.
    engine.step(put(&mesh()[2]));
    assert!(matches!(web(&engine), waypoint::Use::Pending(_)));
    // While it is asked for, nothing but its being asked for counts.
    let asked = start(&without_gateway(), stored);
    assert_eq!(*asked.wishes().borrow(), Wishes::default());
}

#[test]
fn what_somebody_removed_from_the_ledger_is_written_again() {
    let stored: BTreeMap<_, _> = [(gate(), Purpose::Service)].into();
    let mut engine = start(&without_gateway(), stored.clone());
    engine.step(Event::Stored(BTreeMap::new()));
    assert!(matches!(web(&engine), waypoint::Use::Refused(..)));
    assert_eq!(engine.wishes().borrow().keep, stored);
}
