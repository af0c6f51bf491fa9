//! A policy from the wire and a connection: evaluation never panics, agrees with its own explanation, and an unreadable
//! policy permits nobody whom its absence would not.
#![no_main]

use culvert_policy::{Connection, PolicySet, Principal, explain};
use culvert_xds::state::decode_policy;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

libfuzzer_sys::fuzz_target!(|input: (&[u8], bool, [u8; 4], u16)| {
    let (body, plain, source, port) = input;
    let decoded = decode_policy(&"demo/policy".into(), body, "culvert-system");
    let unreadable = decoded.is_err();
    let attached = decoded.unwrap_or_else(|unreadable| *unreadable.stand_in);
    let enforced = !attached.policy.is_dry_run();
    let set = PolicySet::new([attached.policy]);
    let peer = Principal::new("cluster.local", "demo", "client").expect("a principal");
    let connection = Connection {
        peer: (!plain).then_some(&peer),
        source: IpAddr::from(source),
        destination: SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), port)),
    };
    let verdict = set.evaluate(&connection);
    assert_eq!(verdict.is_allowed(), explain(&set, &connection).outcome.allowed);
    assert!(!(unreadable && enforced && verdict.is_allowed()), "an unreadable policy permits");
});
