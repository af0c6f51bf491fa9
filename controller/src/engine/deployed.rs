//! A waypoint that the controller deployed, as one of several replicas sees it.

use serde_json::{Value, json};

use super::tests::{batch, engine};
use super::*;
use crate::keys;
use crate::testing::{namespace, object, pod_value, service, waypoint as gateway};
use culvert_proto::istio::workload::{TunnelProtocol, gateway_address::Destination};

const VIP: &str = "10.96.0.9";

fn mesh() -> Vec<Value> {
    let labels =
        json!({"culvert.dev/dataplane-mode": "ambient", "culvert.dev/use-waypoint": "gate"});
    let mut own = service("demo", "gate", "x", VIP);
    own["metadata"]["labels"] = json!({ keys::GATEWAY_NAME: "gate" });
    own["spec"]["selector"] = json!({ keys::GATEWAY_NAME: "gate" });
    own["spec"]["ports"] = json!([{"name": "hbone", "port": 15008}]);
    let instance = |name: &str, address: &str| {
        let mut pod = pod_value("demo", name, address);
        pod["metadata"]["labels"] =
            json!({ keys::GATEWAY_NAME: "gate", "culvert.dev/dataplane-mode": "none" });
        pod["spec"]["serviceAccountName"] = json!("gate");
        pod
    };
    vec![
        namespace("demo", labels),
        service("demo", "web", "web", "10.96.0.1"),
        // As its status says.
        gateway("demo", "gate", VIP),
        own,
        instance("gate-1", "10.0.0.11"),
        instance("gate-2", "10.0.0.12"),
    ]
}

fn through(engine: &Engine, service: &str) -> Option<String> {
    let consumer = Consumer::Service(NsName::new("demo", service));
    match waypoint::of(&engine.world, &consumer).0 {
        waypoint::Use::Through(_, address) => match address.destination? {
            Destination::Hostname(name) => Some(format!("{}/{}", name.namespace, name.hostname)),
            Destination::Address(_) => Some("an address".into()),
        },
        _ => None,
    }
}

fn programmed() -> Event {
    let mut gateway = gateway("demo", "gate", VIP);
    gateway["metadata"]["annotations"] = json!({ keys::PROGRAMMED: "true" });
    Event::Batch(Batch {
        changes: vec![Change::Put(object(&gateway), Origin::default())],
        ..Batch::default()
    })
}

const OWN: &str = "demo/gate.demo.svc.cluster.local";

#[test]
fn its_instances_take_hbone_and_its_service_has_no_waypoint() {
    let engine = engine(&mesh());
    for name in ["gate-1", "gate-2"] {
        let pod = engine
            .world
            .cache
            .pods
            .get(&NsName::new("demo", name))
            .unwrap();
        let record = workload::of_pod(&engine.world, pod).resource.unwrap();
        let crate::translate::Message::Workload(record) = record.message else {
            panic!()
        };
        assert_eq!(record.tunnel_protocol, i32::from(TunnelProtocol::Hbone));
        assert_eq!(record.service_account, "gate");
        assert_eq!(record.waypoint, None);
        assert!(record.services.contains_key(OWN));
    }
    // The namespace's label is not for the waypoint itself: its traffic would come back to it.
    let own = engine
        .world
        .cache
        .services
        .get(&NsName::new("demo", "gate"))
        .unwrap();
    assert_eq!(
        waypoint::wanted(&engine.world, Kind::Service, &own.meta),
        None
    );
    // The address of its Service is no workload's.
    let (record, _) = gateway::of(
        &engine.world,
        engine
            .world
            .cache
            .gateways
            .get(&NsName::new("demo", "gate"))
            .unwrap(),
    );
    assert_eq!(record, None);
}

#[test]
fn the_order_in_which_its_objects_come_does_not_count() {
    let objects = mesh();
    let all = engine(&objects);
    for last in 2..objects.len() {
        let mut others = objects.clone();
        let object = object(&others.remove(last));
        let mut engine = engine(&others);
        engine.step(Event::Batch(Batch {
            changes: vec![Change::Put(object, Origin::default())],
            ..Batch::default()
        }));
        let names = |engine: &Engine| {
            let all = engine.current().all(crate::translate::Type::Address);
            let versions = all.values().map(|s| (s.name.clone(), s.version.clone()));
            versions.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(names(&engine), names(&all), "{last}");
    }
}

#[test]
fn it_is_used_once_an_instance_is_ready_and_has_acknowledged() {
    let mut engine = engine(&mesh());
    let gate = NsName::new("demo", "gate");
    let client = || Client::Waypoint(gate.clone());
    engine.step(Event::Connected(client(), Component::Waypoint));
    engine.step(Event::Connected(client(), Component::Waypoint));
    assert_eq!(engine.world.waypoints.instances(&gate), 2);
    let scope = engine.current().waypoints[&gate].clone();
    engine.step(Event::Programmed(gate.clone(), scope));
    assert_eq!(through(&engine, "web"), None);
    engine.step(programmed());
    assert_eq!(through(&engine, "web").as_deref(), Some(OWN));
    // One of two goes, then the other: it stays mandatory.
    engine.step(Event::Disconnected(client(), Component::Waypoint));
    assert!(engine.world.waypoints.is_connected(&gate));
    engine.step(Event::Disconnected(client(), Component::Waypoint));
    assert_eq!(through(&engine, "web").as_deref(), Some(OWN));
}

#[test]
fn who_is_new_to_it_waits_for_its_word() {
    let mut engine = engine(&mesh());
    let gate = NsName::new("demo", "gate");
    engine.step(Event::Connected(
        Client::Waypoint(gate.clone()),
        Component::Waypoint,
    ));
    engine.step(programmed());
    assert_eq!(through(&engine, "web"), None);
    let scope = engine.current().waypoints[&gate].clone();
    engine.step(Event::Programmed(gate, scope));
    assert_eq!(through(&engine, "web").as_deref(), Some(OWN));
}

#[test]
fn a_replica_that_no_instance_is_connected_to_believes_the_status() {
    let mut other = engine(&mesh());
    assert_eq!(through(&other, "web"), None);
    other.step(programmed());
    assert_eq!(through(&other, "web").as_deref(), Some(OWN));
    // And one that starts then never knows anything else.
    let mut objects = mesh();
    objects[2]["metadata"]["annotations"] = json!({ keys::PROGRAMMED: "true" });
    let started = Engine::new(World::default(), batch(&objects));
    assert_eq!(through(&started, "web").as_deref(), Some(OWN));
    // Without its Gateway the service is refused, not let past it.
    let gate = Key {
        kind: Kind::Gateway,
        name: NsName::new("demo", "gate"),
    };
    other.step(Event::Batch(Batch {
        changes: vec![Change::Remove(gate)],
        ..Batch::default()
    }));
    let consumer = Consumer::Service(NsName::new("demo", "web"));
    let (outcome, _) = waypoint::of(&other.world, &consumer);
    assert!(matches!(outcome, waypoint::Use::Refused(..)), "{outcome:?}");
}
