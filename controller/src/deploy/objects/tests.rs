//! The objects as they are applied, held against what was agreed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::exposure::{Exposure, ServiceType};
use super::super::requested::Requested;
use super::*;
use crate::model::Purpose;

fn waypoint() -> Wanted {
    Wanted {
        namespace: "demo".into(),
        name: "waypoint".into(),
        uid: "11111111-2222-3333-4444-555555555555".into(),
        class: "culvert-waypoint".into(),
        replicas: Some(2),
        takes: Takes::Hbone(Purpose::Service),
        labels: BTreeMap::from([("team".into(), "web".into())]),
        annotations: BTreeMap::from([("example.com/note".into(), "x".into())]),
    }
}

fn gateway() -> Wanted {
    Wanted {
        name: "edge".into(),
        class: "culvert".into(),
        replicas: None,
        takes: Takes::Listeners(Exposure {
            service: ServiceType::LoadBalancer,
            ports: BTreeSet::from([80, 443]),
            requested: Vec::new(),
        }),
        annotations: BTreeMap::new(),
        ..waypoint()
    }
}

fn common() -> Common {
    Common {
        image: "localhost/culvert/culvert-waypoint:0.1.0".into(),
        pull_policy: "IfNotPresent".into(),
        controller: "10.96.0.20:15012".parse().unwrap(),
    }
}

#[test]
fn the_objects_are_those_of_the_golden_files() {
    for (file, wanted) in [("waypoint", waypoint()), ("gateway", gateway())] {
        let mut objects = of(&wanted, &common());
        let data = json!({"root.crt": "PEM"});
        let owners = [(wanted.name.clone(), wanted.uid)];
        objects.push(root("demo", &owners, data.as_object().unwrap()));
        let made: Vec<_> = objects.iter().map(culvert_runtime::yaml::of).collect();
        let made = made.join("---\n");
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deploy/objects");
        let path = format!("{dir}/{file}.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made, "{path}");
    }
}

#[test]
fn they_are_what_kubernetes_knows() {
    fn known<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) {
        let typed: T = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *value);
    }
    for wanted in [waypoint(), gateway()] {
        let objects = of(&wanted, &common());
        known::<k8s_openapi::api::core::v1::ServiceAccount>(&objects[0]);
        known::<k8s_openapi::api::core::v1::Service>(&objects[1]);
        known::<k8s_openapi::api::policy::v1::PodDisruptionBudget>(&objects[2]);
        known::<k8s_openapi::api::apps::v1::Deployment>(&objects[3]);
    }
}

#[test]
fn who_scales_it_is_left_alone() {
    let objects = of(&gateway(), &common());
    assert!(objects[3]["spec"].get("replicas").is_none());
}

#[test]
fn another_listener_starts_no_instance_anew() {
    let mut more = gateway();
    if let Takes::Listeners(exposure) = &mut more.takes {
        exposure.ports.insert(8080);
    }
    let (before, after) = (of(&gateway(), &common()), of(&more, &common()));
    assert_ne!(before[1], after[1]);
    assert_eq!(before[3], after[3]);
}

#[test]
fn a_balancer_is_asked_for_an_address_and_nobody_else_is() {
    let asking = |service| {
        let mut wanted = gateway();
        if let Takes::Listeners(exposure) = &mut wanted.takes {
            exposure.service = service;
            exposure.requested = vec![Requested::Ip("203.0.113.7".parse().unwrap())];
        }
        of(&wanted, &common()).swap_remove(1)
    };
    let balanced = asking(ServiceType::LoadBalancer);
    assert_eq!(balanced["spec"]["loadBalancerIP"], "203.0.113.7");
    for service in [
        asking(ServiceType::NodePort),
        asking(ServiceType::ClusterIp),
        balanced,
    ] {
        assert!(service["spec"].get("externalIPs").is_none());
    }
    let inside = asking(ServiceType::ClusterIp);
    assert!(inside["spec"].get("loadBalancerIP").is_none());
}
