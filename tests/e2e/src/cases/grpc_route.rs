//! A GRPCRoute: calls are given to backends by service and method, each once, and the rest is refused as gRPC refuses.

use super::app::APP;
use super::waypoint::{by_parent, deploy, retire};
use crate::suite::Suite;
use anyhow::{Result, ensure};
use culvert_e2e::kubectl::pause;
use culvert_lab::wait;

const OBJECTS: &str = include_str!("../../manifests/grpc.yaml");
const CALLS: usize = 60;

/// Half of the calls of one method each, a method that has no backend, and one that no rule is for.
pub(super) fn split(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    k.apply(OBJECTS)?;
    for pod in ["rpc1", "rpc2"] {
        k.wait_ready(APP, &format!("app={pod}"))?;
    }
    suite.settled(APP)?;
    deploy(suite)?;
    let call = |method: &str| {
        format!(
            "grpcurl -plaintext -v -max-time 10 rpc:50051 grpc.testing.TestService/{method} 2>&1"
        )
    };
    wait::until("the route is in force", wait::PATIENCE, || {
        pause();
        let text = k.sh_ok(APP, "near", &call("EmptyCall"))?;
        ensure!(text.contains("x-backend: "), "{text}");
        let route = k.json(&["-n", APP, "grpcroute", "rpc"])?;
        let is = |kind, status| {
            by_parent(&route).any(|one| one["type"] == kind && one["status"] == status)
        };
        // One of its backends does not exist.
        ensure!(
            is("Accepted", "True") && is("ResolvedRefs", "False"),
            "{}",
            route["status"]
        );
        Ok(Some(()))
    })?;
    let calls = format!("for i in $(seq {CALLS}); do {}; done", call("EmptyCall"));
    let text = k.sh_ok(APP, "near", &calls)?;
    let (one, two) = (
        text.matches("x-backend: one").count(),
        text.matches("x-backend: two").count(),
    );
    // 60 throws of a coin leave 11..49 once in a million.
    ensure!(
        one + two == CALLS && (11..=49).contains(&one),
        "{one} + {two} answers of {CALLS}"
    );
    for (method, code) in [
        ("HalfDuplexCall", "Unavailable"),
        ("UnaryCall", "Unimplemented"),
    ] {
        let text = k.sh(APP, "near", &call(method))?.text();
        ensure!(text.contains(&format!("Code: {code}")), "{method}: {text}");
    }
    for kind in [
        "grpcroute/rpc",
        "service/rpc",
        "service/rpc1",
        "service/rpc2",
    ] {
        k.run(&["-n", APP, "delete", kind])?;
    }
    suite.link.released(|pod| pod.starts_with("e2e-app/rpc"));
    for pod in ["rpc1", "rpc2"] {
        k.delete_pod(APP, pod)?;
    }
    retire(suite)?;
    Ok(vec![format!("{CALLS} calls of {CALLS}: {one} and {two}")])
}
