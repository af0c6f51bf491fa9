//! Check 3: the identity that the server's side works with is the client's own, from its certificate.

use crate::demo::{
    checks::Evidence,
    client,
    stage::{EFFECT, Stage},
};
use anyhow::{Result, ensure};
use culvert_lab::{Pod, wait};
use serde_json::Value;

const EXCLUSION: &str = "culvert.dev/exclude-outbound-ports";

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    let client = stage.pods.client.clone();
    if stage.sabotaged(3) {
        stage.mesh.put_pod(&client, &[], &[(EXCLUSION, "80")])?;
        wait::until_true("the exclusion to be in force", || excluded(&client))?;
    }
    let outcome = named(stage);
    if stage.sabotaged(3) {
        stage.mesh.put_pod(&client, &[], &[])?;
        wait::until_true("the exclusion to be lifted", || !excluded(&client))?;
        stage.mesh.wait_captured(&client)?;
    }
    outcome
}

fn excluded(pod: &Pod) -> bool {
    pod.net.rules().is_ok_and(|rules| {
        rules
            .lines()
            .any(|line| line.contains("--dport 80 ") || line.contains("--dports 80 "))
    })
}

fn named(stage: &mut Stage<'_>) -> Result<Evidence> {
    let client = stage.pods.client.clone();
    let identity = client.identity();
    let logged_before = lines_naming(stage, &identity)?.len();
    client::get(&client, &client::url(&stage.pods.web_v1), &[])?.all_ok()?;
    let logged = wait::until(
        "a line of the access log that names the client",
        EFFECT,
        || {
            Ok(lines_naming(stage, &identity)?
                .into_iter()
                .nth(logged_before))
        },
    )?;

    // A connection that stays open: the server's ztunnel shows it with its peer.
    let mut open = client.net.spawn(
        "open",
        &[
            "curl",
            "-sS",
            "--limit-rate",
            "1k",
            "-o",
            "/dev/null",
            &big(stage),
        ],
    )?;
    let shown = wait::until(
        format!("an open connection of {identity} at the server's ztunnel"),
        EFFECT,
        || {
            let connections = stage.mesh.ztunnel_connections("n2")?;
            ensure!(open.is_running(), "curl ended: {}", open.log());
            Ok(connection_naming(&connections, &identity))
        },
    );
    open.kill()?;
    Ok(vec![
        format!("n2's ztunnel on an open connection: {}", shown?),
        format!("n2's access log: {}", shortened(&logged)),
    ])
}

fn big(stage: &Stage<'_>) -> String {
    format!("{}/big", client::url(&stage.pods.web_v1))
}

/// The inbound connection whose peer is `identity`, in words.
fn connection_naming(connections: &Value, identity: &str) -> Option<String> {
    let found = connections.as_array()?.iter().find(|connection| {
        connection["direction"] == "inbound" && connection["source_identity"] == identity
    })?;
    let (source, destination) = (found["source"].as_str()?, found["destination"].as_str()?);
    Some(format!(
        "{source} is {identity}, on its way to {destination}"
    ))
}

/// The fields of an access log's line that say who talked with whom.
fn shortened(line: &str) -> String {
    let shown = [
        "src.addr=",
        "src.identity=",
        "dst.addr=",
        "dst.identity=",
        "bytes_sent=",
        "bytes_recv=",
    ];
    let fields = line
        .split_whitespace()
        .filter(|field| shown.iter().any(|name| field.starts_with(name)));
    fields.collect::<Vec<_>>().join(" ")
}

/// Lines of the access log of n2's ztunnel in which `identity` is the source of an inbound connection.
fn lines_naming(stage: &mut Stage<'_>, identity: &str) -> Result<Vec<String>> {
    let log = stage.mesh.ztunnel("n2")?.log();
    let source = format!("src.identity=\"{identity}\"");
    let lines = log
        .lines()
        .filter(|line| line.contains(&source) && line.contains("inbound"));
    Ok(lines.map(str::to_owned).collect())
}
