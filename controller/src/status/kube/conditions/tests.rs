//! What is written into statuses, and what is left alone.

use super::*;

fn condition(
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    field: &str,
) -> Condition {
    Condition::new(kind, status, reason, "why".into(), field.into())
}

fn policy(status: Value) -> Told {
    Told {
        generation: 3,
        spec: json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}, {"group": "", "kind": "Service", "name": "b"}]}),
        status,
        ..Told::default()
    }
}

fn word<'a>(conditions: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let conditions = conditions.as_array().unwrap();
    let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

#[test]
fn each_ancestor_has_its_own_and_nothing_is_written_twice() {
    let found = [
        condition(
            "ResolvedRefs",
            "False",
            "NotFound",
            "spec.targetRefs[1].name",
        ),
        condition("Accepted", "True", "Accepted", ""),
    ];
    let make = |told: &Told, now| {
        status(
            Kind::AuthorizationPolicy,
            "demo",
            told,
            &found,
            &[],
            &BTreeSet::new(),
            now,
        )
        .unwrap()
    };
    let first = make(&policy(Value::Null), "t1");
    assert_eq!(
        word(&first["conditions"], "ResolvedRefs"),
        ("False", "NotFound")
    );
    let [a, b] = [0, 1].map(|i| &first["ancestors"][i]);
    assert_eq!(
        word(&a["conditions"], "ResolvedRefs"),
        ("True", "ResolvedRefs")
    );
    assert_eq!(
        word(&b["conditions"], "ResolvedRefs"),
        ("False", "NotFound")
    );
    assert_eq!(a["ancestorRef"]["namespace"], "demo");
    assert_eq!(first["conditions"][0]["observedGeneration"], 3);
    assert_eq!(make(&policy(first.clone()), "t2"), first);
}

#[test]
fn a_time_changes_only_with_the_status() {
    let make = |told: &Told, status_: &'static str, reason: &'static str, now: &str| {
        let found = [condition("Accepted", status_, reason, "")];
        status(
            Kind::MeshConfig,
            "",
            told,
            &found,
            &[],
            &BTreeSet::new(),
            now,
        )
        .unwrap()
    };
    let told = |status: Value| Told {
        status,
        ..Told::default()
    };
    let time = |status: &Value| status["conditions"][0]["lastTransitionTime"].clone();
    let first = make(&told(Value::Null), "False", "A", "t1");
    let second = make(&told(first.clone()), "False", "B", "t2");
    assert_ne!(first, second);
    assert_eq!(time(&second), "t1");
    let third = make(&told(second), "True", "Accepted", "t3");
    assert_eq!(time(&third), "t3");
}

#[test]
fn other_controllers_words_on_a_route_stay() {
    let service = json!({"group": "", "kind": "Service", "name": "a"});
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"});
    let theirs =
        json!({"parentRef": gateway, "controllerName": "example.com/gateway", "conditions": []});
    let told = Told {
        spec: json!({"parentRefs": [gateway, service]}),
        status: json!({"parents": [theirs]}),
        ..Told::default()
    };
    let found = [condition("Accepted", "True", "Accepted", "")];
    let made = status(
        Kind::HttpRoute,
        "demo",
        &told,
        &found,
        &[],
        &BTreeSet::new(),
        "t",
    )
    .unwrap();
    let parents = made["parents"].as_array().unwrap();
    assert_eq!(parents.len(), 2);
    assert_eq!(parents[0], theirs);
    assert_eq!(parents[1]["parentRef"], service);
    assert_eq!(parents[1]["controllerName"], CONTROLLER);
    assert!(bad(&made).is_empty());
}

#[test]
fn what_is_wrong_in_itself_is_said_with_its_field() {
    let rejected = [Rejection {
        file: None,
        line: 0,
        object: "AuthorizationPolicy demo/p".into(),
        field: "spec.rules[0].from".into(),
        message: "unknown field".into(),
        effect: Effect::LastGood,
    }];
    let found = [condition("Accepted", "True", "Accepted", "")];
    let made = status(
        Kind::AuthorizationPolicy,
        "demo",
        &policy(Value::Null),
        &found,
        &rejected,
        &BTreeSet::new(),
        "t",
    );
    let made = made.unwrap();
    assert_eq!(word(&made["conditions"], "Accepted"), ("False", "Invalid"));
    let message = "spec.rules[0].from: unknown field; the last good version is in force";
    assert_eq!(made["conditions"][0]["message"], message);
    assert_eq!(
        bad(&made),
        [("Accepted".into(), "Invalid".into(), message.into())]
    );
}

#[test]
fn messages_have_an_end() {
    let long = "ä".repeat(MESSAGE);
    assert_eq!(cut(&long).len(), MESSAGE);
    assert_eq!(cut("x"), "x");
}

#[test]
fn each_parent_of_ours_has_its_own_word_and_no_other_is_spoken_of() {
    let gateway =
        |name: &str| json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name});
    let service = json!({"group": "", "kind": "Service", "name": "a"});
    let ours: BTreeSet<_> = ["edge", "rim"].map(|name| NsName::new("demo", name)).into();
    let told = Told {
        generation: 7,
        spec: json!({"parentRefs": [gateway("edge"), gateway("of-others"), gateway("rim"), service]}),
        ..Told::default()
    };
    let found = [
        condition(
            "Accepted",
            "False",
            "NotAllowedByListeners",
            "spec.parentRefs[2]",
        ),
        condition(
            "ResolvedRefs",
            "False",
            "BackendNotFound",
            "spec.rules[0].backendRefs[0].name",
        ),
        condition("Programmed", "False", "NoWaypoint", "spec.parentRefs[3]"),
    ];
    let made = |told: &Told| status(Kind::TlsRoute, "demo", told, &found, &[], &ours, "t");
    let status = made(&told).unwrap();
    let parents = status["parents"].as_array().unwrap();
    let names: Vec<_> = parents
        .iter()
        .map(|p| p["parentRef"]["name"].clone())
        .collect();
    assert_eq!(names, ["edge", "rim", "a"]);
    for (parent, accepted, programmed) in [
        (&parents[0], ("True", "Accepted"), ("True", "Programmed")),
        (
            &parents[1],
            ("False", "NotAllowedByListeners"),
            ("True", "Programmed"),
        ),
        (&parents[2], ("True", "Accepted"), ("False", "NoWaypoint")),
    ] {
        let conditions = &parent["conditions"];
        assert_eq!(word(conditions, "Accepted"), accepted);
        assert_eq!(word(conditions, "Programmed"), programmed);
        assert_eq!(
            word(conditions, "ResolvedRefs"),
            ("False", "BackendNotFound")
        );
        assert_eq!(conditions[0]["observedGeneration"], 7);
    }
    let of_others = Told {
        spec: json!({"parentRefs": [gateway("of-others")]}),
        ..Told::default()
    };
    assert_eq!(made(&of_others), None);
    // What was said is taken back when the Gateway is another's.
    let before = Told {
        status: status.clone(),
        ..of_others
    };
    assert_eq!(made(&before).unwrap(), json!({"parents": []}));
}
