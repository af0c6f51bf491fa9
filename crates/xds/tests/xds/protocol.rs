//! The state machine: what is asked for, answered and held.

use bytes::Bytes;
use culvert_proto::ads::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use culvert_xds::protocol::{MAX_RESOURCE_BYTES, Machine, ProtocolError, Reply};
use culvert_xds::{Handler, Handlers, Rejected, Update};
use prost::Message as _;

use crate::common::{Recorder, wire};

const A: &str = "type.googleapis.com/a";
const B: &str = "type.googleapis.com/b";

fn machine() -> Machine {
    let node = ads::Node {
        id: "me".into(),
        ..Default::default()
    };
    Machine::new(node, &[A, B])
}

fn response(type_url: &str, resources: Vec<ads::Resource>, removed: &[&str]) -> Bytes {
    let response = DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: "n".into(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    response.encode_to_vec().into()
}

fn a(name: &str, version: &str, body: &str) -> ads::Resource {
    wire(A, name, version, body.into())
}

fn held(machine: &Machine) -> Vec<(String, String)> {
    let mut held: Vec<_> = machine
        .held(A)
        .map(|(name, version)| (name.to_owned(), version.to_string()))
        .collect();
    held.sort();
    held
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
        .collect()
}

fn rejected_names(reply: &Reply) -> Vec<&str> {
    reply.rejected.iter().map(|r| &*r.name).collect()
}

#[test]
fn the_first_requests_subscribe_to_everything_of_each_type_in_order() {
    let requests = machine().connect();
    let expected = |type_url: &str| DeltaDiscoveryRequest {
        node: Some(ads::Node {
            id: "me".into(),
            ..Default::default()
        }),
        type_url: type_url.into(),
        ..Default::default()
    };
    assert_eq!(requests, [expected(A), expected(B)]);
}

#[test]
fn a_good_response_is_acked_by_its_nonce() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let reply = machine
        .receive(
            response(A, vec![a("x", "1", "X"), a("y", "1", "Y")], &[]),
            &mut handler,
        )
        .unwrap();
    let ack = DeltaDiscoveryRequest {
        type_url: A.into(),
        response_nonce: "n".into(),
        ..Default::default()
    };
    assert_eq!(reply.request, ack);
    assert_eq!(handler.held.len(), 2);
    assert_eq!(held(&machine), pairs(&[("x", "1"), ("y", "1")]));
}

#[test]
fn a_bad_resource_is_nacked_by_name_and_the_good_ones_apply() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    machine
        .receive(response(A, vec![a("x", "1", "X")], &[]), &mut handler)
        .unwrap();
    let resources = vec![a("x", "2", "bad"), a("y", "2", "Y"), a("z", "2", "bad")];
    let reply = machine
        .receive(response(A, resources, &[]), &mut handler)
        .unwrap();
    assert_eq!(rejected_names(&reply), ["x", "z"]);
    let error = reply.request.error_detail.unwrap();
    assert_eq!(error.code, 3);
    assert_eq!(
        error.message,
        "2 rejected: x: the body is bad; z: the body is bad"
    );
    assert_eq!(handler.held["x"], b"X");
    assert_eq!(handler.held["y"], b"Y");
    // The last good version stays; what was never good is asked for again, or learned to be gone.
    assert_eq!(held(&machine), pairs(&[("x", "1"), ("y", "2"), ("z", "")]));
    let versions = &machine.connect()[0].initial_resource_versions;
    assert_eq!(versions.len(), 3);
    assert_eq!(versions["z"], "");

    machine
        .receive(response(A, vec![], &["z"]), &mut handler)
        .unwrap();
    assert_eq!(held(&machine), pairs(&[("x", "1"), ("y", "2")]));
}

#[test]
fn only_explicit_removals_remove() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    machine
        .receive(
            response(A, vec![a("x", "1", "X"), a("y", "1", "Y")], &[]),
            &mut handler,
        )
        .unwrap();
    machine
        .receive(response(A, vec![], &[]), &mut handler)
        .unwrap();
    assert_eq!(handler.held.len(), 2);
    let reply = machine
        .receive(
            response(A, vec![], &["y", "unknown", "y", ""]),
            &mut handler,
        )
        .unwrap();
    assert!(reply.request.error_detail.is_none());
    assert_eq!(held(&machine), pairs(&[("x", "1")]));
    assert_eq!(handler.held.len(), 1);
}

#[test]
fn what_is_removed_and_added_in_one_response_is_there() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    machine
        .receive(response(A, vec![a("x", "1", "old")], &[]), &mut handler)
        .unwrap();
    machine
        .receive(response(A, vec![a("x", "2", "new")], &["x"]), &mut handler)
        .unwrap();
    assert_eq!(handler.held["x"], b"new");
    assert_eq!(held(&machine), pairs(&[("x", "2")]));
}

#[test]
fn of_duplicates_the_last_counts() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let resources = vec![a("x", "1", "one"), a("y", "1", "Y"), a("x", "2", "two")];
    let reply = machine
        .receive(response(A, resources, &[]), &mut handler)
        .unwrap();
    assert!(reply.rejected.is_empty());
    assert_eq!(handler.held["x"], b"two");
    assert_eq!(held(&machine), pairs(&[("x", "2"), ("y", "1")]));
}

#[test]
fn an_unknown_type_is_never_acked() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let reply = machine
        .receive(response("other", vec![a("x", "1", "X")], &[]), &mut handler)
        .unwrap();
    assert!(reply.request.error_detail.is_some());
    assert_eq!(reply.request.type_url, "other");
    assert_eq!(handler.updates, 0);
    assert_eq!(machine.label("other"), "unknown");
}

#[test]
fn a_resource_without_a_usable_body_is_rejected_by_name() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let mut none = a("none", "1", "");
    none.resource = None;
    let other = wire(B, "other", "1", b"X".to_vec());
    let large = wire(A, "large", "1", vec![0; MAX_RESOURCE_BYTES + 1]);
    let resources = vec![none, other, large, a("", "1", "X"), a("good", "1", "X")];
    let reply = machine
        .receive(response(A, resources, &[]), &mut handler)
        .unwrap();
    assert_eq!(rejected_names(&reply), ["none", "other", "large", ""]);
    assert_eq!(handler.held.len(), 1);
    assert_eq!(
        held(&machine),
        pairs(&[("good", "1"), ("large", ""), ("none", ""), ("other", "")])
    );
}

#[test]
fn a_response_without_a_nonce_ends_the_stream_and_changes_nothing() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let response = response(A, vec![a("x", "1", "X")], &[]);
    let mut without = DeltaDiscoveryResponse::decode(response).unwrap();
    without.nonce.clear();
    assert_eq!(
        machine.receive(without.encode_to_vec().into(), &mut handler),
        Err(ProtocolError::MissingNonce)
    );
    assert_eq!(handler.updates, 0);
    assert!(held(&machine).is_empty());
}

#[test]
fn a_response_that_cannot_be_read_ends_the_stream_and_changes_nothing() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let good = response(A, vec![a("x", "1", "X")], &["y"]);
    // A second resource of one byte, which is no field.
    let bad = [&good[..], &[0x12, 1, 0xff]].concat();
    let error = machine.receive(bad.into(), &mut handler);
    assert!(
        matches!(error, Err(ProtocolError::Malformed(_))),
        "{error:?}"
    );
    assert_eq!(handler.updates, 0);
    assert!(held(&machine).is_empty());
    assert_eq!(machine.receive(good, &mut handler).unwrap().rejected, []);
}

#[test]
fn a_response_that_comes_again_changes_nothing() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let response = response(A, vec![a("x", "1", "X")], &["gone"]);
    let first = machine.receive(response.clone(), &mut handler).unwrap();
    let before = (held(&machine), handler.held.clone());
    let second = machine.receive(response, &mut handler).unwrap();
    assert_eq!(first, second);
    assert_eq!((held(&machine), handler.held), before);
}

#[test]
fn a_nack_is_short_however_much_is_rejected() {
    let (mut machine, mut handler) = (machine(), Recorder::default());
    let names = (0..10_000).map(|n| format!("{n}-{}", "é".repeat(600)));
    let resources = names.map(|name| a(&name, "1", "bad")).collect();
    let reply = machine
        .receive(response(A, resources, &[]), &mut handler)
        .unwrap();
    assert_eq!(reply.rejected.len(), 10_000);
    let message = reply.request.error_detail.unwrap().message;
    assert!(message.starts_with("10000 rejected: 0-"));
    assert!(message.len() < 8192, "{}", message.len());
}

/// Refuses to let go of anything.
struct Keeper(Recorder);

impl Handler for Keeper {
    fn apply(&mut self, type_url: &str, mut update: Update) -> Vec<Rejected> {
        let kept = update.removed.drain(..).map(|name| Rejected {
            name,
            error: "stays".into(),
        });
        let kept: Vec<_> = kept.collect();
        self.0
            .apply(type_url, update)
            .into_iter()
            .chain(kept)
            .collect()
    }
}

#[test]
fn a_refused_removal_is_nacked_and_the_version_stays_held() {
    let (mut machine, mut handler) = (machine(), Keeper(Recorder::default()));
    machine
        .receive(response(A, vec![a("x", "1", "X")], &[]), &mut handler)
        .unwrap();
    let reply = machine
        .receive(response(A, vec![], &["x"]), &mut handler)
        .unwrap();
    assert_eq!(rejected_names(&reply), ["x"]);
    assert_eq!(held(&machine), pairs(&[("x", "1")]));
}

#[test]
fn handlers_are_given_their_own_types() {
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Handler for Seen {
        fn apply(&mut self, type_url: &str, _: Update) -> Vec<Rejected> {
            self.0.lock().unwrap().push(type_url.to_owned());
            Vec::new()
        }
    }

    let (first, second) = (Seen::default(), Seen::default());
    let mut handlers = Handlers::new()
        .with(&[B], first.clone())
        .with(&[A, B], second.clone());
    assert_eq!(handlers.types(), [B, A]);
    let mut machine = Machine::new(ads::Node::default(), &handlers.types());
    for type_url in [A, B] {
        let resource = wire(type_url, "x", "1", Vec::new());
        machine
            .receive(response(type_url, vec![resource], &[]), &mut handlers)
            .unwrap();
    }
    assert_eq!(*first.0.lock().unwrap(), [B]);
    assert_eq!(*second.0.lock().unwrap(), [A]);

    let update = Update {
        removed: vec!["x".into()],
        ..Update::default()
    };
    assert_eq!(handlers.apply("other", update).len(), 1);
}
