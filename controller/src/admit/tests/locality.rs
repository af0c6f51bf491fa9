//! Which endpoints come first, as it is written: each mistake names its field.

use super::*;

#[test]
fn locality_names_each_wrong_field() {
    let locality = |locality: Value| {
        culvert(
            "TrafficPolicy",
            json!({"targetRefs": [{"kind": "Service", "name": "web"}], "loadBalancer": {"locality": locality}}),
        )
    };
    for good in [
        json!({}),
        json!({"mode": "Disabled"}),
        json!({"mode": "Strict", "failoverPriority": ["Zone", "Node"]}),
        json!({"failover": [{"from": "eu", "to": "us"}, {"from": "us", "to": "eu"}]}),
    ] {
        assert!(admit(&locality(good.clone())).is_ok(), "{good}");
    }
    let at = "spec.loadBalancer.locality";
    for (bad, said) in [
        (
            json!({"failoverPriority": []}),
            "failoverPriority: is empty",
        ),
        (
            json!({"failoverPriority": ["Zone", "Region"]}),
            "failoverPriority: does not go from wide to narrow",
        ),
        (
            json!({"failoverPriority": ["Zone", "Zone"]}),
            "failoverPriority: does not go from wide to narrow",
        ),
        (
            json!({"mode": "Disabled", "failoverPriority": ["Zone"]}),
            "failoverPriority: is there although mode is Disabled",
        ),
        (
            json!({"mode": "Strict", "failover": [{"from": "a", "to": "b"}]}),
            "failover: is there although mode is not",
        ),
        (
            json!({"failoverPriority": ["Zone"], "failover": [{"from": "a", "to": "b"}]}),
            "failover: needs a failoverPriority",
        ),
        (
            json!({"failover": [{"from": "", "to": "b"}]}),
            "failover[0].from: is empty",
        ),
        (
            json!({"failover": [{"from": "a", "to": "a"}]}),
            "failover[0].to: is the same as from",
        ),
        (
            json!({"failover": [{"from": "a", "to": "b"}, {"from": "a", "to": "c"}]}),
            "failover[1].from: \"a\" stands twice",
        ),
    ] {
        let found = issues(&locality(bad)).join("\n");
        assert!(
            found.contains(&format!("{at}.{said}")),
            "{said} not in\n{found}"
        );
    }
    let unknown = issues(&locality(json!({"mode": "Nearest"}))).join("\n");
    assert!(unknown.contains(at), "{unknown}");
    let of_route = json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}],
        "loadBalancer": {"locality": {}}});
    let found = issues(&culvert("TrafficPolicy", of_route)).join("\n");
    assert!(
        found.contains(&format!("{at}: holds for Services")),
        "{found}"
    );
}
