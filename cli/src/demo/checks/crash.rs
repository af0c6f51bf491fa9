//! Check 8: a ztunnel that is gone takes its pods' traffic with it, never their protection.

use crate::demo::{
    checks::Evidence,
    client,
    stage::{EFFECT, Stage},
};
use anyhow::{Result, ensure};
use culvert_lab::wait;
use std::time::Instant;

const ATTEMPTS: usize = 5;

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    let near = crash(stage, "n1", "the client's");
    let far = crash(stage, "n2", "the servers'");
    Ok(vec![near?, far?])
}

fn crash(stage: &mut Stage<'_>, node: &str, whose: &str) -> Result<String> {
    let client = stage.pods.client.clone();
    let strip = stage.sabotaged(8) && node == "n1";
    stage.mesh.ztunnel(node)?.kill()?;
    if strip {
        stage.strip_rules(&client)?;
    }
    let failed = attempt(stage);
    let restarted = Instant::now();
    stage.mesh.start_ztunnel(node)?;
    if strip {
        stage.let_agent_repair(&client)?;
    }
    stage.mesh.wait_ztunnel_ready(node)?;
    let url = client::url(&stage.pods.web_v1);
    wait::until("traffic to come back", EFFECT, || {
        client::get(&client, &url, &[])?.all_ok().map(Some)
    })?;
    for pod in stage.pods.enrolled() {
        stage.mesh.wait_captured(pod)?;
    }
    let back = restarted.elapsed();
    Ok(format!(
        "{node}, {whose} ztunnel killed: {}; back {} ms after it was started again",
        failed?,
        back.as_millis()
    ))
}

/// What of several attempts failed, and that nothing of them was readable.
fn attempt(stage: &mut Stage<'_>) -> Result<String> {
    let mark = stage.capture.mark()?;
    let header = [stage.marker_header()];
    for _ in 0..ATTEMPTS {
        for server in [&stage.pods.web_v1, &stage.pods.web_v2] {
            client::get(&stage.pods.client, &client::url(server), &header)?.none_answered()?;
        }
    }
    let packets = stage.capture.since(mark)?;
    let leaked = packets
        .iter()
        .filter(|packet| packet.contains(stage.marker.as_bytes()))
        .count();
    ensure!(leaked == 0, "the marker leaked in {leaked} packets");
    let addresses = stage.pods.addresses();
    let mut between = packets
        .iter()
        .filter(|packet| packet.is_between(&addresses));
    let plain = between
        .any(|packet| packet.is_tcp() && !packet.payload.is_empty() && !packet.has_port(15008));
    ensure!(!plain, "data went around port 15008");
    Ok(format!(
        "{0} of {0} requests failed, nothing leaked",
        2 * ATTEMPTS
    ))
}
