//! Check 2: the label alone moves running programs to mutual TLS, and nothing of them stays readable.

use crate::demo::{capture::Mark, checks::Evidence, client, servers, stage::Stage};
use anyhow::{Context, Result, bail, ensure};
use culvert_lab::flow;

const HBONE: u16 = 15008;

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    stage.enrol()?;
    let client = stage.pods.client.clone();
    if stage.sabotaged(2) {
        stage.strip_rules(&client)?;
    }
    let outcome = inspect(stage);
    if stage.sabotaged(2) {
        stage.let_agent_repair(&client)?;
    }
    let mut evidence = outcome?;
    evidence.push(control(stage)?);
    Ok(evidence)
}

fn inspect(stage: &mut Stage<'_>) -> Result<Evidence> {
    let mark = stage.capture.mark()?;
    let client = stage.pods.client.clone();
    let header = [stage.marker_header()];
    let by_address = client::url(&stage.pods.web_v1);
    let by_v6 = format!("http://[{}]", stage.pods.web_v1.ip6);
    client::get(&client, &by_address, &header)?.all_ok()?;
    client::get(&client, &by_v6, &header)?.all_ok()?;
    let sent = client::download(&client, &format!("{by_address}/big"))?;
    ensure!(
        sent == servers::BIG,
        "downloaded {sent} of {} bytes",
        servers::BIG
    );
    inspect_link(stage, mark, sent)?;
    // Only the mesh knows this name.
    client::get(&client, "http://web-v2", &header)?.all_ok()?;
    stage.check_same_processes()?;
    let mut evidence = vec![
        format!(
            "curl of {} got 200 from {by_address}, {by_v6}, {by_address}/big and http://web-v2",
            client.name
        ),
        "nginx and redis are the processes that were started before".to_owned(),
    ];
    evidence.extend(inspect_link(stage, mark, sent)?);
    Ok(evidence)
}

/// What crossed the link since `mark`, when the programs sent `sent` bytes or more.
fn inspect_link(stage: &mut Stage<'_>, mark: Mark, sent: usize) -> Result<Evidence> {
    let packets = stage.capture.since(mark)?;
    let addresses = stage.pods.addresses();
    let between = packets
        .iter()
        .filter(|packet| packet.is_between(&addresses));
    let (tcp, other): (Vec<_>, Vec<_>) = between.partition(|packet| packet.is_tcp());
    ensure!(
        !tcp.is_empty(),
        "no segment between enrolled pods crossed the link"
    );
    if let Some(astray) = tcp.iter().find(|packet| !packet.has_port(HBONE)) {
        bail!(
            "a segment {} -> {} is not of port {HBONE}",
            astray.source,
            astray.destination
        );
    }
    let readable = packets
        .iter()
        .filter(|packet| packet.contains(stage.marker.as_bytes()))
        .count();
    ensure!(
        readable == 0,
        "the marker stood readable in {readable} packets"
    );
    let tls = flow::tls(tcp.iter().copied())?;
    ensure!(
        tls.application_bytes >= sent,
        "{} encrypted bytes for {sent} that were sent",
        tls.application_bytes
    );
    Ok(vec![
        format!(
            "{} TCP segments between enrolled pods: all of port {HBONE} ({} other packets)",
            tcp.len(),
            other.len()
        ),
        format!(
            "{} streams, TLS to the last byte: {} records, {} bytes of application data for {sent} bytes that were sent",
            tls.streams, tls.records, tls.application_bytes
        ),
        format!(
            "{} is in none of the {} packets of the link",
            stage.marker,
            packets.len()
        ),
    ])
}

/// The capture still sees what is not encrypted.
fn control(stage: &mut Stage<'_>) -> Result<String> {
    let mark = stage.capture.mark()?;
    let url = client::url(&stage.pods.web_v1);
    client::get(&stage.pods.outsider, &url, &[stage.marker_header()])?.all_ok()?;
    let packets = stage.capture.since(mark)?;
    let seen = packets
        .iter()
        .find(|packet| packet.contains(stage.marker.as_bytes()));
    let seen =
        seen.context("the capture does not even see the marker of a pod outside the mesh")?;
    Ok(format!(
        "from outside the mesh it is still readable: {} -> {}",
        seen.source, seen.destination
    ))
}
