//! Check 9: without its label the namespace is as if there had never been a mesh.

use crate::demo::{checks::Evidence, client, stage::Stage};
use anyhow::{Context, Result, ensure};

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    if stage.sabotaged(9) {
        stage.enrol()?;
    } else {
        stage.release()?;
    }
    for (pod, before) in stage.pods.enrolled().iter().zip(&stage.rules_before) {
        let now = pod.net.rules()?;
        ensure!(
            now == *before,
            "{} has other rules than before it joined:\n{now}",
            pod.name
        );
    }
    let mark = stage.capture.mark()?;
    let url = client::url(&stage.pods.web_v1);
    client::get(&stage.pods.client, &url, &[stage.marker_header()])?.all_ok()?;
    stage.check_same_processes()?;
    let packets = stage.packets_since(mark)?;
    let seen = packets
        .iter()
        .find(|packet| packet.contains(stage.marker.as_bytes()));
    let seen = seen.context("the marker did not cross the link in the clear")?;
    Ok(vec![
        format!(
            "{} pods have the rules that they had before, nothing listens for the mesh",
            stage.pods.enrolled().len()
        ),
        format!(
            "the marker is readable again: {} -> {}, from the same processes",
            seen.source, seen.destination
        ),
    ])
}
