//! What is said of a ListenerSet, and what is left alone.

use super::*;
use crate::model::{Kind, NsName};
use crate::source::Effect;
use crate::translate::listener::{ListenerWord, SetState};

fn listener(name: &str, words: &[(&'static str, bool, &'static str)]) -> ListenerState {
    let word = |(condition, status, reason): &(&'static str, bool, &'static str)| ListenerWord {
        condition,
        status: *status,
        reason,
        message: String::new(),
    };
    ListenerState {
        name: name.into(),
        attached: 2,
        kinds: vec![Kind::HttpRoute],
        words: words.iter().map(word).collect(),
    }
}

fn good(name: &str) -> ListenerState {
    listener(
        name,
        &[
            ("Accepted", true, "Accepted"),
            ("Programmed", true, "Programmed"),
            ("ResolvedRefs", true, "ResolvedRefs"),
        ],
    )
}

fn bad(name: &str) -> ListenerState {
    listener(
        name,
        &[
            ("Accepted", false, "HostnameConflict"),
            ("Programmed", false, "HostnameConflict"),
            ("Conflicted", true, "HostnameConflict"),
        ],
    )
}

fn verdict(listeners: Vec<ListenerState>) -> SetVerdict {
    SetVerdict {
        state: SetState {
            name: NsName::new("team", "set"),
            allowed: true,
            listeners,
        },
        parent_refused: false,
        parent_programmed: true,
    }
}

fn told(status: Value) -> Told {
    Told {
        generation: 5,
        status,
        ..Told::default()
    }
}

fn said(conditions: &Value, kind: &str) -> (String, String) {
    let all = conditions.as_array().unwrap();
    let found = all.iter().find(|c| c["type"] == kind).unwrap();
    assert_eq!(found["observedGeneration"], 5);
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

/// What is said of the set as a whole.
fn whole(verdict: &SetVerdict) -> [(String, String); 2] {
    let status = status(Some(verdict), &told(Value::Null), &[], "t").unwrap();
    ["Accepted", "Programmed"].map(|kind| said(&status["conditions"], kind))
}

fn words(accepted: (&str, &str), programmed: (&str, &str)) -> [(String, String); 2] {
    [accepted, programmed].map(|(status, reason)| (status.into(), reason.into()))
}

#[test]
fn it_is_as_good_as_its_listeners_and_its_gateway() {
    let fine = words(("True", "Accepted"), ("True", "Programmed"));
    assert_eq!(whole(&verdict(vec![good("a")])), fine);
    let some = verdict(vec![good("a"), bad("b")]);
    let mixed = words(("True", "ListenersNotValid"), ("True", "Programmed"));
    assert_eq!(whole(&some), mixed);
    let none = words(
        ("False", "ListenersNotValid"),
        ("False", "ListenersNotValid"),
    );
    assert_eq!(whole(&verdict(vec![bad("b")])), none);
    let mut refused = verdict(vec![good("a")]);
    refused.parent_refused = true;
    let parent = ("False", "ParentNotProgrammed");
    assert_eq!(
        whole(&refused),
        words(("False", "ParentNotAccepted"), parent)
    );
    let mut pending = verdict(vec![good("a")]);
    pending.parent_programmed = false;
    assert_eq!(whole(&pending), words(("True", "Accepted"), parent));
    let mut foreign = verdict(Vec::new());
    foreign.state.allowed = false;
    let no = ("False", "NotAllowed");
    assert_eq!(whole(&foreign), words(no, no));
}

#[test]
fn its_listeners_are_no_further_than_the_gateway_and_nothing_is_written_twice() {
    let mut verdict = verdict(vec![good("a"), bad("b")]);
    let make = |verdict: &SetVerdict, before: Value, now| {
        status(Some(verdict), &told(before), &[], now).unwrap()
    };
    let first = make(&verdict, Value::Null, "t1");
    let [a, b] = [0, 1].map(|i| &first["listeners"][i]);
    assert_eq!((&a["name"], &a["attachedRoutes"]), (&json!("a"), &json!(2)));
    assert_eq!(a["supportedKinds"][0]["kind"], "HTTPRoute");
    assert_eq!(said(&a["conditions"], "Programmed").0, "True");
    assert_eq!(said(&b["conditions"], "Conflicted").0, "True");
    assert_eq!(make(&verdict, first.clone(), "t2"), first);
    verdict.parent_programmed = false;
    let second = make(&verdict, first, "t3");
    let programmed = said(&second["listeners"][0]["conditions"], "Programmed");
    assert_eq!(programmed, ("False".into(), "Pending".into()));
}

#[test]
fn one_of_others_is_left_alone_and_one_that_is_no_good_names_the_field() {
    assert_eq!(
        status(None, &told(json!({"conditions": []})), &[], "t"),
        None
    );
    let rejected = [Rejection {
        file: None,
        line: 0,
        object: "ListenerSet team/set".into(),
        field: "spec.listeners[0].hostname".into(),
        message: "no name".into(),
        effect: Effect::None,
    }];
    let made = status(None, &told(Value::Null), &rejected, "t").unwrap();
    for kind in ["Accepted", "Programmed"] {
        assert_eq!(said(&made["conditions"], kind).1, "Invalid");
    }
    let message = made["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.listeners[0].hostname: no name"));
}

#[test]
fn what_was_said_ends_with_its_gateway() {
    assert_eq!(orphan(&told(Value::Null), "t"), None);
    let before = status(
        Some(&verdict(vec![good("a")])),
        &told(Value::Null),
        &[],
        "t",
    );
    let after = orphan(&told(before.unwrap()), "t1").unwrap();
    assert_eq!(
        said(&after["conditions"], "Accepted").1,
        "ParentNotAccepted"
    );
    assert_eq!(after["listeners"], json!([]));
    assert_eq!(orphan(&told(after), "t2"), None);
}
