//! Two pods of one node: over HBONE, unless the mesh wants otherwise, and never past a NetworkPolicy of the API server.

use super::app::APP;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{kubectl::pause, mesh};
use culvert_lab::wait;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::Child,
};

/// Connects, says from which port, and stays.
const CLIENT: &str = "import socket, time\ns = socket.create_connection(('echo1', 80))\n\
    print(s.getsockname()[1], flush=True)\ntime.sleep(20)";

/// Where the mesh's configuration says `InProcess`, connections within a node stay in its ztunnel; those that are open
/// end, and new ones are encrypted, as soon as a NetworkPolicy is about either end.
pub(super) fn same_node(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    goes(suite, false)?;
    configure(suite, "InProcess")?;
    let outcome = (|| {
        goes(suite, true)?;
        k.apply(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: any, namespace: {APP}}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{}}]}}\n"
        ))?;
        goes(suite, false)?;
        k.run(&["-n", APP, "delete", "networkpolicy", "any"])?;
        goes(suite, true)
    })();
    configure(suite, "Hbone")?;
    outcome?;
    goes(suite, false)?;
    Ok(Vec::new())
}

fn configure(suite: &Suite, same_node: &str) -> Result<()> {
    let patch = format!("{{\"spec\":{{\"sameNode\":\"{same_node}\"}}}}");
    let k = &suite.cluster.kubectl;
    k.run(&[
        "patch",
        "meshconfig",
        "default",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    Ok(())
}

/// Waits until a new connection stays in ztunnel, or goes over HBONE.
fn goes(suite: &Suite, in_process: bool) -> Result<()> {
    let what = format!("near to echo1 in process: {in_process}");
    wait::until(what, wait::PATIENCE, || {
        pause();
        let went = way(suite)?;
        ensure!(went == in_process, "it is {went}");
        Ok(Some(()))
    })
}

/// Whether a new connection stays in ztunnel, as ztunnel itself says while it is open.
fn way(suite: &Suite) -> Result<bool> {
    let argv = ["python3", "-c", CLIENT];
    let mut child = suite.cluster.kubectl.spawn(APP, "near", &argv)?;
    let shown = shown(suite, &mut child);
    child.kill()?;
    child.wait()?;
    shown
}

fn shown(suite: &Suite, child: &mut Child) -> Result<bool> {
    let mut port = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut port)?;
    let near = suite.addresses(APP, "near")?;
    let connections: Vec<Value> =
        serde_json::from_str(&mesh::admin(&suite.cluster, "node1", "connections")?)?;
    let ours = |one: &&Value| {
        let source = one["source"].as_str().unwrap_or_default();
        source.ends_with(&format!(":{}", port.trim()))
            && near
                .iter()
                .any(|address| source.contains(&address.to_string()))
    };
    let ours: Vec<_> = connections.iter().filter(ours).collect();
    let inside = |one: &&&Value| one["in_process"] == true;
    let count = ours.iter().filter(inside).count();
    ensure!(
        !ours.is_empty() && [0, ours.len()].contains(&count),
        "it is shown, and in one way: {ours:?}"
    );
    Ok(count > 0)
}
