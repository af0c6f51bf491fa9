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

fn key(kind: Kind, namespace: &str) -> Key {
    let name = NsName::new(namespace, "x");
    Key { kind, name }
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
            &key(Kind::AuthorizationPolicy, "demo"),
            told,
            &found,
            &[],
            &Ours::default(),
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
            &key(Kind::MeshConfig, ""),
            told,
            &found,
            &[],
            &Ours::default(),
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
        &key(Kind::HttpRoute, "demo"),
        &told,
        &found,
        &[],
        &Ours::default(),
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
        &key(Kind::AuthorizationPolicy, "demo"),
        &policy(Value::Null),
        &found,
        &rejected,
        &Ours::default(),
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
    let ours = Ours {
        gateways: ["edge", "rim"].map(|name| NsName::new("demo", name)).into(),
        ..Ours::default()
    };
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
    let made = |told: &Told| status(&key(Kind::TlsRoute, "demo"), told, &found, &[], &ours, "t");
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

#[test]
fn a_route_has_a_word_for_each_of_32_parents_and_leaves_room_to_others() {
    let service = |i: usize| json!({"group": "", "kind": "Service", "name": format!("s{i}")});
    let theirs = |i: usize| json!({"parentRef": {"name": format!("g{i}")}, "controllerName": "example.com/gateway", "conditions": []});
    let found = [
        condition(
            "Accepted",
            "False",
            "NoMatchingParent",
            "spec.parentRefs[31].name",
        ),
        condition("ResolvedRefs", "True", "ResolvedRefs", ""),
    ];
    let made = |kind, others: usize| {
        let told = Told {
            generation: 5,
            spec: json!({"parentRefs": (0..32).map(service).collect::<Vec<_>>()}),
            status: json!({"parents": (0..others).map(theirs).collect::<Vec<_>>()}),
            ..Told::default()
        };
        let status = status(
            &key(kind, "demo"),
            &told,
            &found,
            &[],
            &Ours::default(),
            "t",
        )
        .unwrap();
        status["parents"].as_array().unwrap().clone()
    };
    for kind in [Kind::HttpRoute, Kind::GrpcRoute] {
        let parents = made(kind, 0);
        assert_eq!(parents.len(), 32);
        for (i, parent) in parents.iter().enumerate() {
            let expected = if i == 31 {
                ("False", "NoMatchingParent")
            } else {
                ("True", "Accepted")
            };
            assert_eq!(word(&parent["conditions"], "Accepted"), expected, "{i}");
            let conditions = parent["conditions"].as_array().unwrap();
            assert!(
                conditions.iter().all(|c| c["observedGeneration"] == 5),
                "{parent}"
            );
        }
        let parents = made(kind, 3);
        assert_eq!(parents.len(), 32, "more would be refused as a whole");
        assert_eq!(parents[..3], [theirs(0), theirs(1), theirs(2)]);
        assert_eq!(parents[3]["parentRef"], service(0));
    }
}

#[test]
fn a_parent_that_is_gone_from_the_route_is_gone_from_its_status() {
    let service = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    let theirs = json!({"parentRef": {"name": "g"}, "controllerName": "example.com/gateway", "conditions": []});
    let ours = |name: &str| json!({"parentRef": service(name), "controllerName": CONTROLLER, "conditions": []});
    let found = [condition("Accepted", "True", "Accepted", "")];
    let made = |parents: &[Value]| {
        let told = Told {
            spec: json!({"parentRefs": parents}),
            status: json!({"parents": [ours("old"), theirs, ours("kept")]}),
            ..Told::default()
        };
        let status = status(
            &key(Kind::GrpcRoute, "demo"),
            &told,
            &found,
            &[],
            &Ours::default(),
            "t",
        );
        let status = status.unwrap();
        let parents = status["parents"].as_array().unwrap().iter();
        parents.map(|p| p["parentRef"].clone()).collect::<Vec<_>>()
    };
    let other = json!({"name": "g"});
    assert_eq!(made(&[service("kept")]), [other.clone(), service("kept")]);
    assert_eq!(made(&[]), [other]);
}

#[test]
fn of_a_backends_policy_we_speak_beside_others_and_of_services_alone() {
    let theirs = json!({"ancestorRef": {"name": "g"}, "controllerName": "example.com/gateway", "conditions": []});
    let gone =
        json!({"ancestorRef": {"name": "old"}, "controllerName": CONTROLLER, "conditions": []});
    let bucket = json!({"group": "example.com", "kind": "Bucket", "name": "b"});
    let service = json!({"group": "", "kind": "Service", "name": "web"});
    let told = |targets: &[&Value], before: Value| Told {
        generation: 2,
        spec: json!({"targetRefs": targets}),
        status: before,
        ..Told::default()
    };
    let found = [
        condition("Accepted", "False", "Conflicted", "spec.targetRefs[1]"),
        condition("Enforced", "True", "Enforced", ""),
    ];
    let made = |told: &Told| {
        let key = key(Kind::XBackendTrafficPolicy, "demo");
        status(&key, told, &found, &[], &Ours::default(), "t")
    };
    let now = made(&told(
        &[&bucket, &service],
        json!({"ancestors": [theirs, gone]}),
    ))
    .unwrap();
    assert!(now.get("conditions").is_none(), "the API has none");
    let [first, second] = &now["ancestors"].as_array().unwrap()[..] else {
        panic!("{now}");
    };
    assert_eq!(*first, theirs);
    assert_eq!(second["ancestorRef"]["namespace"], "demo");
    assert_eq!(
        word(&second["conditions"], "Accepted"),
        ("False", "Conflicted")
    );
    assert_eq!(second["conditions"][0]["observedGeneration"], 2);
    assert_eq!(bad(&now).len(), 1, "which is told as an event, too");
    assert_eq!(made(&told(&[&bucket, &service], now.clone())), Some(now));
    assert_eq!(made(&told(&[&bucket], Value::Null)), None);
}
