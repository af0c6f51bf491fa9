//! The truth table of strictness against a model that is nothing but the rules of precedence.

use culvert_proto::istio::security::Match;
use serde_json::{Value, json};

use super::*;
use crate::testing::{culvert, pod_value, world};

const MODES: [&str; 4] = ["none", "UNSET", "PERMISSIVE", "STRICT"];
const PORT: u16 = 8080;

/// What is written at each level; `none`: no object.
#[derive(Clone, Copy, Debug)]
struct Written {
    mesh: &'static str,
    namespace: &'static str,
    workload: &'static str,
    /// Of `PORT`.
    port: &'static str,
}

/// The model: the narrowest word counts.
fn is_strict(w: Written, port: u16) -> bool {
    let says = |mode: &&str| matches!(*mode, "STRICT" | "PERMISSIVE");
    let port_word = if port == PORT && w.workload != "none" {
        w.port
    } else {
        "none"
    };
    let words = [port_word, w.workload, w.namespace, w.mesh];
    words.into_iter().find(says) == Some("STRICT")
}

fn objects(w: Written) -> Vec<Value> {
    let mut objects = vec![pod_value("demo", "web", "10.0.0.1")];
    let mut add = |namespace, name, mut spec: Value, mode: &str| {
        if mode != "none" {
            spec["mtls"] = json!({"mode": mode});
            objects.push(culvert("PeerAuthentication", namespace, name, spec));
        }
    };
    add("culvert-system", "mesh", json!({}), w.mesh);
    add("demo", "all", json!({}), w.namespace);
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}});
    if w.port != "none" {
        spec["portLevelMtls"] = json!({PORT.to_string(): {"mode": w.port}});
    }
    add("demo", "web", spec, w.workload);
    objects
}

/// Whether a peer without identity is denied, by evaluating what was made as a ztunnel does.
fn denies_plaintext(world: &World, port: u16) -> bool {
    let pod = world.cache.pods.get(&NsName::new("demo", "web")).unwrap();
    let Some(name) = policy_of(world, pod) else {
        return false;
    };
    let made = world
        .cache
        .peer_authentications
        .iter()
        .filter_map(|policy| of(world, policy));
    let policy = made
        .chain([strict(world)])
        .find(|resource| *resource.name == *name);
    let policy = policy.unwrap_or_else(|| panic!("{name} is named and does not exist"));
    let Message::Authorization(policy) = policy.message else {
        panic!()
    };
    assert_eq!(policy.action(), Action::Deny);
    let matches = |m: &Match| {
        let port = u32::from(port);
        // Without identity, `not_principals` of presence is satisfied.
        assert_eq!(m.not_principals, [anyone()]);
        (m.destination_ports.is_empty() || m.destination_ports.contains(&port))
            && !m.not_destination_ports.contains(&port)
    };
    policy.rules.iter().any(|rule| {
        rule.clauses
            .iter()
            .all(|clause| clause.matches.iter().any(matches))
    })
}

/// The same as the agent reads it.
fn agent_is_told(world: &World, port: u16) -> bool {
    let pod = world.cache.pods.get(&NsName::new("demo", "web")).unwrap();
    let (every, ports) = ports_of(world, pod);
    every != ports.contains(&port)
}

#[test]
fn truth_table() {
    let mut strict = 0;
    for mesh in MODES {
        for namespace in MODES {
            for workload in MODES {
                for port in MODES {
                    let written = Written {
                        mesh,
                        namespace,
                        workload,
                        port,
                    };
                    let world = world(&objects(written));
                    for port in [PORT, 9090] {
                        let expected = is_strict(written, port);
                        assert_eq!(
                            denies_plaintext(&world, port),
                            expected,
                            "{written:?} {port}"
                        );
                        assert_eq!(agent_is_told(&world, port), expected, "{written:?} {port}");
                        strict += usize::from(expected);
                    }
                }
            }
        }
    }
    // The table is not all of one kind.
    assert!((100..400).contains(&strict), "{strict}");
}

#[test]
fn of_several_the_oldest_counts_then_the_first_by_name() {
    let dated = |name: &str, time: &str, mode: &str| {
        let mut object = culvert(
            "PeerAuthentication",
            "demo",
            name,
            json!({"mtls": {"mode": mode}}),
        );
        object["metadata"]["creationTimestamp"] = json!(time);
        object
    };
    let pod = pod_value("demo", "web", "10.0.0.1");
    let old = "2026-01-01T00:00:00Z";
    let new = "2026-01-02T00:00:00Z";
    let mesh = world(&[
        pod.clone(),
        dated("a", new, "PERMISSIVE"),
        dated("b", old, "STRICT"),
    ]);
    assert!(denies_plaintext(&mesh, 80));
    let mesh = world(&[
        pod,
        dated("b", old, "STRICT"),
        dated("a", old, "PERMISSIVE"),
    ]);
    assert!(!denies_plaintext(&mesh, 80));
}

#[test]
fn a_selector_reaches_its_own_namespace_only_and_only_those_it_matches() {
    let strict = |namespace: &str, app: &str| {
        let spec = json!({"selector": {"matchLabels": {"app": app}}, "mtls": {"mode": "STRICT"}});
        culvert("PeerAuthentication", namespace, "x", spec)
    };
    let pod = pod_value("demo", "web", "10.0.0.1");
    assert!(denies_plaintext(
        &world(&[pod.clone(), strict("demo", "web")]),
        80
    ));
    assert!(!denies_plaintext(
        &world(&[pod.clone(), strict("demo", "api")]),
        80
    ));
    assert!(!denies_plaintext(
        &world(&[pod.clone(), strict("other", "web")]),
        80
    ));
    assert!(!denies_plaintext(
        &world(&[pod, strict("culvert-system", "web")]),
        80
    ));
}
