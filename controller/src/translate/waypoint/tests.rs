//! What becomes of traffic to a service that asks for a waypoint, in each state that the waypoint can be in.

use serde_json::{Value, json};

use super::*;
use crate::testing;

const CLIENT: &str = "demo";

struct Case {
    gateway: Option<Value>,
    labels: Value,
    connected: bool,
    /// For this service and for another one.
    programmed: (bool, bool),
}

impl Default for Case {
    fn default() -> Self {
        Self {
            gateway: Some(testing::waypoint("demo", "gate", "10.0.0.9")),
            labels: json!({"culvert.dev/use-waypoint": "gate"}),
            connected: true,
            programmed: (false, false),
        }
    }
}

fn outcome(case: Case) -> (&'static str, Option<&'static str>) {
    let mut service = testing::service(CLIENT, "web", "web", "10.96.0.1");
    service["metadata"]["labels"] = case.labels;
    let mut world = testing::world(&[service]);
    world.put(&testing::object(&testing::service(
        "demo",
        "other",
        "other",
        "10.96.0.2",
    )));
    case.gateway
        .iter()
        .for_each(|gateway| drop(world.put(&testing::object(gateway))));
    let namespace = case
        .gateway
        .as_ref()
        .map_or("demo", |g| g["metadata"]["namespace"].as_str().unwrap());
    let gateway = NsName::new(namespace, "gate");
    let consumer = Consumer::Service(NsName::new(CLIENT, "web"));
    if case.connected {
        world.waypoints.connect(&gateway);
    }
    if case.programmed.0 {
        world.waypoints.program(&gateway, &consumer);
    }
    if case.programmed.1 {
        world
            .waypoints
            .program(&gateway, &Consumer::Service(NsName::new("demo", "other")));
    }
    let (through, finding) = of(&world, &consumer);
    let outcome = match through {
        Use::None => "none",
        Use::Pending(_) => "pending",
        Use::Through(..) => "through",
        Use::Refused(..) => "refused",
    };
    (outcome, finding.map(|finding| finding.reason))
}

#[test]
fn pending_until_programmed_and_mandatory_afterwards() {
    assert_eq!(outcome(Case::default()), ("pending", None));
    assert_eq!(
        outcome(Case {
            programmed: (true, false),
            ..Case::default()
        }),
        ("through", None)
    );
    let away = Case {
        connected: false,
        programmed: (true, false),
        ..Case::default()
    };
    assert_eq!(outcome(away), ("through", None));
    // New to a waypoint that serves others: the waypoint is asked first, unless it cannot be.
    assert_eq!(
        outcome(Case {
            programmed: (false, true),
            ..Case::default()
        }),
        ("pending", None)
    );
    let away = Case {
        connected: false,
        programmed: (false, true),
        ..Case::default()
    };
    assert_eq!(outcome(away), ("through", None));
}

#[test]
fn a_waypoint_that_is_not_there() {
    let missing = || Case {
        gateway: None,
        connected: false,
        ..Case::default()
    };
    assert_eq!(outcome(missing()), ("pending", Some("WaypointNotFound")));
    assert_eq!(
        outcome(Case {
            programmed: (true, false),
            ..missing()
        }),
        ("refused", Some("WaypointNotFound"))
    );
    assert_eq!(
        outcome(Case {
            programmed: (false, true),
            ..missing()
        }),
        ("refused", Some("WaypointNotFound"))
    );
    let mut foreign = testing::waypoint("demo", "gate", "10.0.0.9");
    foreign["spec"]["gatewayClassName"] = json!("nginx");
    let case = Case {
        gateway: Some(foreign),
        ..Case::default()
    };
    assert_eq!(outcome(case), ("pending", Some("WaypointNotFound")));
    let mut homeless = testing::waypoint("demo", "gate", "10.0.0.9");
    homeless["spec"]["addresses"] = json!([]);
    let case = Case {
        gateway: Some(homeless),
        programmed: (true, false),
        ..Case::default()
    };
    assert_eq!(outcome(case), ("refused", Some("WaypointHasNoAddress")));
}

#[test]
fn another_namespaces_waypoint_needs_its_consent() {
    let labels =
        json!({"culvert.dev/use-waypoint": "gate", "culvert.dev/use-waypoint-namespace": "infra"});
    let case = |from: Option<&str>, programmed| {
        let mut gateway = testing::waypoint("infra", "gate", "10.0.0.9");
        if let Some(from) = from {
            gateway["spec"]["listeners"][0]["allowedRoutes"] =
                json!({"namespaces": {"from": from}});
        }
        Case {
            gateway: Some(gateway),
            labels: labels.clone(),
            programmed,
            ..Case::default()
        }
    };
    assert_eq!(outcome(case(Some("All"), (true, false))), ("through", None));
    assert_eq!(
        outcome(case(None, (false, false))),
        ("pending", Some("WaypointNotAllowed"))
    );
    assert_eq!(
        outcome(case(None, (true, false))),
        ("refused", Some("WaypointNotAllowed"))
    );
    assert_eq!(
        outcome(case(Some("Same"), (false, true))),
        ("refused", Some("WaypointNotAllowed"))
    );
}

#[test]
fn the_nearest_label_counts_and_the_purpose() {
    assert_eq!(
        outcome(Case {
            labels: json!({}),
            ..Case::default()
        }),
        ("none", None)
    );
    let none = json!({"culvert.dev/use-waypoint": "none"});
    let case = Case {
        labels: none,
        programmed: (true, false),
        ..Case::default()
    };
    assert_eq!(outcome(case), ("none", None));
    let mut workloads = testing::waypoint("demo", "gate", "10.0.0.9");
    workloads["metadata"]["labels"] = json!({"culvert.dev/waypoint-for": "workload"});
    assert_eq!(
        outcome(Case {
            gateway: Some(workloads),
            ..Case::default()
        }),
        ("none", None)
    );
}

#[test]
fn the_finding_is_about_the_object_with_the_label() {
    let world = testing::world(&[
        testing::namespace("demo", json!({"culvert.dev/use-waypoint": "gate"})),
        testing::service("demo", "web", "web", "10.96.0.1"),
    ]);
    let (_, finding) = of(&world, &Consumer::Service(NsName::new("demo", "web")));
    let finding = finding.unwrap();
    assert_eq!(finding.object.to_string(), "Namespace demo");
    assert_eq!(
        finding.field.to_string(),
        "metadata.labels[culvert.dev/use-waypoint]"
    );
}
