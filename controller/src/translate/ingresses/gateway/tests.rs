//! Listeners that are nobody's but the Ingresses'.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::testing::{gateway, ingress, ingress_path, listener_set, world};

#[test]
fn its_gateway_takes_no_listener_sets_whatever_it_allows() {
    let own = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let edge = ("culvert-system", "culvert-ingress");
    let mut allowing = gateway(edge.0, edge.1, own.clone());
    allowing["spec"]["allowedListeners"] = json!({"namespaces": {"from": "All"}});
    let paths = json!({"paths": [ingress_path("Prefix", "/", "web")]});
    let world = world(&[
        allowing,
        listener_set("demo", "set", edge, own),
        ingress(
            "demo",
            "i",
            1,
            json!({"rules": [{"host": "x.org", "http": paths}]}),
        ),
    ]);
    let (made, findings) = of(&world);
    let Message::Gateway(told) = &made[0].message else {
        panic!("{made:?}")
    };
    let names: Vec<_> = told.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["http/x.org"]);
    let found = findings.iter().find(|f| f.reason == "NotAllowed").unwrap();
    assert_eq!(found.object.to_string(), "ListenerSet demo/set");
    let state = super::super::state(&world, &BTreeMap::new());
    assert_eq!(state.attached_sets(), 0);
    let [set] = &state.sets[..] else {
        panic!("{state:?}")
    };
    assert!(!set.allowed && state.set_ports.is_empty());
}
