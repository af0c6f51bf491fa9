//! Check 1: without the mesh the link shows everything. The same capture is what check 2 relies on.

use crate::demo::{checks::Evidence, client, stage::Stage};
use anyhow::{Context, Result};

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    if stage.sabotaged(1) {
        stage.enrol()?;
    }
    let outcome = look(stage);
    if stage.sabotaged(1) {
        stage.release()?;
    }
    outcome
}

fn look(stage: &mut Stage<'_>) -> Result<Evidence> {
    let mark = stage.capture.mark()?;
    let url = client::url(&stage.pods.web_v1);
    client::get(&stage.pods.client, &url, &[stage.marker_header()])?.all_ok()?;
    let packets = stage.packets_since(mark)?;
    let seen = packets
        .iter()
        .find(|packet| packet.contains(stage.marker.as_bytes()));
    let seen = seen.context("the marker did not cross the link in the clear")?;
    Ok(vec![
        format!("curl of {} got 200 from {url}", stage.pods.client.name),
        format!(
            "{} stood readable in a segment {} -> {}",
            stage.marker, seen.source, seen.destination
        ),
    ])
}
