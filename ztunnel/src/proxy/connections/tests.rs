//! The table: limits, bytes, and who leaves it.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn facts() -> Facts {
    Facts::new(
        Direction::Outbound,
        "10.0.0.1:1".parse().unwrap(),
        "10.0.0.2:80".parse().unwrap(),
    )
}

#[test]
fn the_newest_is_refused_beyond_the_limit_of_its_pod_or_of_all() {
    let quota = Quota::new(3);
    let (a, b) = (
        Connections::new(2, quota.clone()),
        Connections::new(2, quota.clone()),
    );
    let first = a.open(facts()).unwrap();
    let _second = a.open(facts()).unwrap();
    assert_eq!(a.open(facts()).unwrap_err().reason, DenyReason::Overload);
    let third = b.open(facts()).unwrap();
    assert_eq!(
        b.open(facts()).unwrap_err().reason,
        DenyReason::Overload,
        "all together have as many as they may"
    );
    drop(first);
    let _fourth = b.open(facts()).unwrap();
    third.refused(&DenyReason::NoEndpoint.into());
    assert_eq!((a.len(), b.len(), quota.used()), (1, 1, 2));
}

#[test]
fn bytes_count_once_whichever_side_is_the_client() {
    for (client, expected) in [(Client::Near, (100, 20)), (Client::Far, (20, 100))] {
        let connections = Connections::new(1, Quota::new(1));
        let mut connection = connections.open(facts()).unwrap();
        connection.established(client);
        connection.progress().set(60, 10);
        connections.look_after(DAY);
        connections.look_after(DAY);
        connection.progress().set(100, 20);
        let [view] = &connections.views()[..] else {
            panic!()
        };
        assert_eq!((view.bytes_to_server, view.bytes_to_client), expected);
        let counted = connection.slot.with(|entry| entry.counted).unwrap();
        assert_eq!(counted, client.order((60, 10)));
        connection.closed(&Outcome {
            a_to_b: 100,
            b_to_a: 20,
            error: None,
        });
        assert_eq!(connections.len(), 0);
    }
}

#[test]
fn bytes_that_went_ahead_count_too() {
    let connections = Connections::new(1, Quota::new(1));
    let mut connection = connections.open(facts()).unwrap();
    connection.went_ahead(7);
    connection.established(Client::Near);
    connection.progress().set(100, 20);
    let [view] = &connections.views()[..] else {
        panic!()
    };
    assert_eq!((view.bytes_to_server, view.bytes_to_client), (107, 20));
}

#[tokio::test]
async fn a_connection_outside_is_ended_by_what_is_said_of_those_outside() {
    let connections = Connections::new(2, Quota::new(2));
    let within = connections.open(facts()).unwrap();
    let mut outside = connections.open(facts()).unwrap();
    assert!(!connections.has_fresh());
    outside.leaves(Leave {
        to: "192.0.2.1:443".parse().unwrap(),
        name: Some("a.example".into()),
    });
    assert!(connections.has_fresh());
    assert_eq!(connections.sweep_leaving(|_| Ok(())), 0);
    let refuse = |leave: &Leave| {
        assert_eq!(leave.name.as_deref(), Some("a.example"));
        Err(DenyReason::EgressNotAllowed.into())
    };
    assert_eq!(connections.sweep_leaving(refuse), 1);
    let denial = outside.take_stop().stopped().await;
    assert_eq!(denial.reason, DenyReason::EgressNotAllowed);
    assert_eq!(connections.sweep_leaving(refuse), 0, "told once");
    drop(within);
}

#[tokio::test]
async fn who_moves_no_byte_is_ended_once_established_and_who_moves_some_is_not() {
    let connections = Connections::new(3, Quota::new(3));
    let connecting = connections.open(facts()).unwrap();
    let mut idle = connections.open(facts()).unwrap();
    let mut busy = connections.open(facts()).unwrap();
    idle.established(Client::Near);
    busy.established(Client::Near);
    busy.progress().set(1, 0);
    connections.look_after(Duration::ZERO);
    let told = |connection: &Connection| connection.slot.with(|entry| entry.stop.is_none());
    assert_eq!(told(&connecting), Some(false));
    assert_eq!(told(&busy), Some(false));
    let denial = idle.take_stop().stopped().await;
    assert_eq!(denial.reason, DenyReason::IdleTimeout);
    connections.look_after(DAY);
    assert_eq!(told(&busy), Some(false), "idle, but not for a day");
    connections.look_after(Duration::ZERO);
    assert_eq!(told(&busy), Some(true));
}

#[tokio::test]
async fn ending_all_tells_everyone_once_and_a_copy_gets_the_reason() {
    let connections = Connections::new(2, Quota::new(2));
    let mut connection = connections.open(facts()).unwrap();
    let stop = connection.take_stop();
    connections.end_all(DenyReason::Draining);
    connections.end_all(DenyReason::Draining);
    let error = stop.error().await;
    let denial = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Denial>());
    assert_eq!(denial.unwrap().reason, DenyReason::Draining);
}
