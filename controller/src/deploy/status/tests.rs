//! The status at each step of a gateway's and a waypoint's life.

use super::*;
use crate::model::{Kind, NsName};
use crate::translate::listener::{GatewayState, ListenerState, ListenerWord, SetState};

/// The status of a waypoint or gateway after these.
type Step<'a> = (i64, Option<&'a Value>, &'a Progress, &'a str);

fn of_mesh((generation, before, progress, now): Step<'_>) -> Value {
    let told = of_waypoint(progress, before, &["mesh".to_owned()]);
    of(&told, Some(generation), before, now)
}

fn of_world((generation, before, progress, now): Step<'_>, state: &GatewayState) -> Value {
    let names = ["http".to_owned(), "tls".to_owned()];
    let told = of_gateway(progress, before, &names, Some(state));
    of(&told, Some(generation), before, now)
}

fn word<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = status["conditions"].as_array().unwrap();
    let c = conditions.iter().find(|c| c["type"] == kind).unwrap();
    let text = |key: &str| c[key].as_str().unwrap();
    (text("status"), text("reason"), text("lastTransitionTime"))
}

fn deployed(ready: i32) -> Progress {
    Progress::Deployed {
        addresses: vec![json!({"type": "IPAddress", "value": "10.96.0.9"})],
        missing: Vec::new(),
        ready,
        replicas: 2,
    }
}

fn listener(
    name: &str,
    attached: u32,
    words: &[(&'static str, bool, &'static str)],
) -> ListenerState {
    let word = |(condition, status, reason): &(&'static str, bool, &'static str)| ListenerWord {
        condition,
        status: *status,
        reason,
        message: String::new(),
    };
    ListenerState {
        name: name.into(),
        attached,
        kinds: vec![Kind::HttpRoute, Kind::GrpcRoute],
        words: words.iter().map(word).collect(),
    }
}

#[test]
fn pending_then_programmed_then_mandatory() {
    let (none, one) = (deployed(0), deployed(1));
    let first = of_mesh((1, None, &none, "t1"));
    assert_eq!(word(&first, "Accepted"), ("True", "Accepted", "t1"));
    assert_eq!(word(&first, "Programmed"), ("False", "Pending", "t1"));
    assert!(!was_programmed(&first));
    let second = of_mesh((1, Some(&first), &one, "t2"));
    assert_eq!(word(&second, "Programmed"), ("True", "Programmed", "t2"));
    assert_eq!(word(&second, "Accepted").2, "t1");
    assert!(was_programmed(&second));
    let third = of_mesh((2, Some(&second), &none, "t3"));
    assert_eq!(
        word(&third, "Programmed"),
        ("False", "NoReadyInstance", "t3")
    );
    assert!(was_programmed(&third));
    // Nor is it forgotten when something else is wrong, too.
    let refused = Progress::Refused(Refused("Invalid", "x".into()));
    let fourth = of_mesh((3, Some(&third), &refused, "t4"));
    assert_eq!(word(&fourth, "Accepted"), ("False", "Invalid", "t4"));
    assert_eq!(fourth["addresses"], third["addresses"]);
    assert!(was_programmed(&fourth));
    // Nothing new is nothing new.
    assert_eq!(of_mesh((3, Some(&fourth), &refused, "t5")), fourth);
}

#[test]
fn somebody_elses_object_is_named() {
    let conflict = Progress::Conflict("Service demo/waypoint is not this Gateway's".into());
    let mesh = of_mesh((1, None, &conflict, "t"));
    let world = of_world((1, None, &conflict, "t"), &GatewayState::default());
    for status in [mesh, world] {
        assert_eq!(word(&status, "Programmed"), ("False", "Conflict", "t"));
        let message = status["conditions"][1]["message"].as_str().unwrap();
        assert!(message.contains("Service demo/waypoint"), "{message}");
    }
}

#[test]
fn a_gateway_and_its_listeners() {
    let mut state = GatewayState {
        listeners: vec![
            listener("http", 3, &[]),
            listener(
                "tls",
                1,
                &[("ResolvedRefs", false, "InvalidCertificateRef")],
            ),
            listener("gone", 9, &[]),
        ],
        ..GatewayState::default()
    };
    let one = deployed(1);
    let first = of_world((4, None, &one, "t1"), &state);
    assert_eq!(word(&first, "Accepted"), ("True", "Accepted", "t1"));
    assert_eq!(word(&first, "Programmed"), ("True", "Programmed", "t1"));
    let unresolved = ("False", "ListenersNotResolved", "t1");
    assert_eq!(word(&first, "ResolvedRefs"), unresolved);
    let listeners = first["listeners"].as_array().unwrap();
    // What the Gateway does not name any more is not there.
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners[0]["attachedRoutes"], 3);
    let kind = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"});
    assert_eq!(listeners[0]["supportedKinds"][0], kind);
    let good = ("True", "Programmed", "t1");
    assert_eq!(word(&listeners[0], "Programmed"), good);
    assert_eq!(word(&listeners[0], "Conflicted").1, "NoConflicts");
    assert_eq!(word(&listeners[1], "Accepted").0, "True");
    let bad = ("False", "InvalidCertificateRef", "t1");
    assert_eq!(word(&listeners[1], "ResolvedRefs"), bad);
    assert_eq!(
        word(&listeners[1], "Programmed"),
        ("False", "Invalid", "t1")
    );
    for listener in listeners {
        let conditions = listener["conditions"].as_array().unwrap();
        assert!(conditions.iter().all(|c| c["observedGeneration"] == 4));
    }
    // Another route, and nothing else.
    state.listeners[0].attached = 4;
    let second = of_world((4, Some(&first), &one, "t2"), &state);
    assert_eq!(second["listeners"][0]["attachedRoutes"], 4);
    assert_eq!(second["conditions"], first["conditions"]);
    assert_eq!(of_world((4, Some(&second), &one, "t3"), &state), second);
}

#[test]
fn a_certificate_for_backends_that_is_missing_is_the_gateways_own_matter() {
    let mut state = GatewayState {
        listeners: vec![listener("http", 0, &[])],
        client_certificate: Some(("InvalidClientCertificateRef", "there is none".into())),
        ..GatewayState::default()
    };
    let one = deployed(1);
    let status = of_world((1, None, &one, "t"), &state);
    let invalid = ("False", "InvalidClientCertificateRef", "t");
    assert_eq!(word(&status, "ResolvedRefs"), invalid);
    // Clients are served all the same.
    assert_eq!(word(&status, "Accepted"), ("True", "Accepted", "t"));
    assert_eq!(word(&status, "Programmed"), ("True", "Programmed", "t"));
    let bad = [("ResolvedRefs", false, "InvalidCertificateRef")];
    state.listeners[0] = listener("http", 0, &bad);
    let status = of_world((1, None, &one, "t"), &state);
    assert_eq!(word(&status, "ResolvedRefs"), invalid);
    let conditions = status["conditions"].as_array().unwrap();
    let resolved = conditions.iter().find(|c| c["type"] == "ResolvedRefs");
    let message = resolved.unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains("there is none") && message.contains("listeners http"),
        "{message}"
    );
}

#[test]
fn a_gateway_is_as_good_as_its_listeners() {
    let unsupported = [("Accepted", false, "UnsupportedProtocol")];
    let conflict = [("Conflicted", true, "HostnameConflict")];
    let mut state = GatewayState {
        listeners: vec![listener("http", 0, &[]), listener("tls", 0, &conflict)],
        ..GatewayState::default()
    };
    let one = deployed(1);
    let some = of_world((1, None, &one, "t"), &state);
    assert_eq!(word(&some, "Accepted"), ("True", "ListenersNotValid", "t"));
    assert_eq!(word(&some, "Programmed").0, "True");
    let invalid = ("False", "Invalid", "t");
    assert_eq!(word(&some["listeners"][1], "Programmed"), invalid);
    state.listeners[0] = listener("http", 0, &unsupported);
    let none = of_world((1, None, &one, "t"), &state);
    assert_eq!(word(&none, "Accepted"), ("False", "ListenersNotValid", "t"));
    assert_eq!(word(&none, "Programmed"), invalid);
    // One that is not known to the controller is not accepted either.
    let told = of_gateway(&one, None, &["http".to_owned()], None);
    let unknown = of(&told, Some(1), None, "t");
    assert_eq!(word(&unknown, "Accepted"), ("False", "Pending", "t"));
    assert_eq!(word(&unknown, "Programmed"), invalid);
}

#[test]
fn a_gateway_needs_an_address_and_an_instance() {
    let state = GatewayState {
        listeners: vec![listener("http", 0, &[])],
        ..GatewayState::default()
    };
    let nowhere = Progress::Deployed {
        addresses: Vec::new(),
        missing: Vec::new(),
        ready: 1,
        replicas: 1,
    };
    let status = of_world((1, None, &nowhere, "t"), &state);
    let no_address = ("False", "AddressNotAssigned", "t");
    assert_eq!(word(&status, "Programmed"), no_address);
    assert_eq!(word(&status["listeners"][0], "Programmed"), no_address);
    let ready = of_world((1, Some(&status), &deployed(1), "t1"), &state);
    // Unlike a waypoint, one that was programmed is just as pending as before.
    let none = of_world((1, Some(&ready), &deployed(0), "t2"), &state);
    assert_eq!(word(&none, "Programmed"), ("False", "Pending", "t2"));
    // What the API server says before anybody else is no word of ours.
    let fresh = json!({"conditions": [{"type": "Programmed", "status": "Unknown", "reason": "Pending", "message": "x"}]});
    let refused = Progress::Refused(Refused("InvalidParameters", "y".into()));
    let status = of_world((1, Some(&fresh), &refused, "t"), &state);
    assert_eq!(
        word(&status, "Accepted"),
        ("False", "InvalidParameters", "t")
    );
    assert_eq!(word(&status, "Programmed"), ("False", "Invalid", "t"));
}

#[test]
fn a_class_says_what_its_gateways_can_do() {
    let status = class(Role::Gateway, false, Some(2), None, "t");
    assert_eq!(word(&status, "Accepted"), ("True", "Accepted", "t"));
    assert_eq!(status["conditions"][0]["observedGeneration"], 2);
    let features = status["supportedFeatures"].as_array().unwrap();
    assert!(features.contains(&json!({"name": "GRPCRoute"})));
    let refused = class(Role::Gateway, true, Some(3), Some(&status), "t1");
    assert_eq!(
        word(&refused, "Accepted"),
        ("False", "InvalidParameters", "t1")
    );
    let waypoints = class(Role::Waypoint, false, Some(1), None, "t");
    assert!(waypoints.get("supportedFeatures").is_none());
}

#[test]
fn an_address_that_was_asked_for_has_to_be_there() {
    let state = GatewayState {
        listeners: vec![listener("http", 0, &[])],
        ..GatewayState::default()
    };
    let mut asked = deployed(1);
    if let Progress::Deployed { missing, .. } = &mut asked {
        missing.push("203.0.113.9".into());
    }
    let status = of_world((1, None, &asked, "t"), &state);
    assert_eq!(word(&status, "Accepted"), ("True", "Accepted", "t"));
    let unusable = ("False", "AddressNotUsable", "t");
    assert_eq!(word(&status, "Programmed"), unusable);
    let message = status["conditions"][1]["message"].as_str().unwrap();
    assert!(message.contains("203.0.113.9"), "{message}");
}

#[test]
fn sets_are_counted_and_make_a_gateway_without_good_listeners_one_that_serves() {
    let good = [
        ("Accepted", true, "Accepted"),
        ("Programmed", true, "Programmed"),
    ];
    let lost = [("Accepted", false, "HostnameConflict")];
    let set = |name: &str, listener| SetState {
        name: NsName::new("team", name),
        allowed: true,
        listeners: vec![listener],
    };
    let mut state = GatewayState {
        listeners: vec![listener("http", 0, &lost)],
        sets: vec![
            set("a", listener("x", 1, &good)),
            set("b", listener("x", 1, &lost)),
        ],
        ..GatewayState::default()
    };
    let one = deployed(1);
    let first = of_world((1, None, &one, "t"), &state);
    assert_eq!(first["attachedListenerSets"], 1);
    assert_eq!(word(&first, "Accepted"), ("True", "ListenersNotValid", "t"));
    assert_eq!(word(&first, "Programmed").0, "True");
    // Listeners of sets are in their own statuses alone.
    assert_eq!(first["listeners"].as_array().unwrap().len(), 1);
    state.sets.clear();
    let second = of_world((1, Some(&first), &one, "t"), &state);
    assert_eq!(second["attachedListenerSets"], 0);
    let never = of_world((1, None, &one, "t"), &state);
    assert!(never.get("attachedListenerSets").is_none());
    let refused = Progress::Refused(Refused("Invalid", "x".into()));
    let refused = of_world((1, Some(&first), &refused, "t"), &state);
    assert_eq!(refused["attachedListenerSets"], 0);
}

#[test]
fn that_clients_without_a_good_certificate_are_served_is_said_as_long_as_it_is_so() {
    let mut state = GatewayState {
        listeners: vec![listener("http", 0, &[])],
        insecure: true,
        ..GatewayState::default()
    };
    let one = deployed(1);
    let first = of_world((1, None, &one, "t"), &state);
    let insecure = ("True", "ConfigurationChanged", "t");
    assert_eq!(word(&first, "InsecureFrontendValidationMode"), insecure);
    state.insecure = false;
    let second = of_world((1, Some(&first), &one, "t"), &state);
    assert_eq!(second["conditions"].as_array().unwrap().len(), 3);
}
