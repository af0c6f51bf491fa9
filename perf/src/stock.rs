//! A stock ztunnel as a node's proxy, configured by the environment variables that it documents.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Mesh, Node, Process, http, until, wait::PATIENCE};
use std::{
    net::{Ipv6Addr, SocketAddr},
    path::Path,
};

const READY_PORT: u16 = 15021;
/// The controller's root certificate, in its configuration directory.
const ROOT: &str = ".state/root.pem";

/// Starts `program` on `node`, joined to our controller and agent, and waits until it is ready.
pub(crate) fn start(program: &Path, mesh: &Mesh<'_>, node: &Node) -> Result<Process> {
    let mut process = spawn(program, mesh, node)?;
    node.net.wait_for_server(&mut process, READY_PORT)?;
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, READY_PORT));
    until(format!("readiness of {}", process.name()), PATIENCE, || {
        let response = http::tcp(&node.net, address, "GET", "/healthz/ready")?;
        ensure!(
            response.status == 200,
            "not ready: {}",
            response.body.trim()
        );
        Ok(Some(()))
    })
    .with_context(|| process.log())?;
    Ok(process)
}

/// Starts it, and does not wait.
pub(crate) fn spawn(program: &Path, mesh: &Mesh<'_>, node: &Node) -> Result<Process> {
    let controller = format!("https://{}", mesh.controller_address()?);
    let root = mesh.config_dir().join(ROOT).display().to_string();
    let token = mesh.token("node", node.name())?.display().to_string();
    let socket = mesh
        .run_dir(node.name())
        .join("ztunnel.sock")
        .display()
        .to_string();
    let variables = [
        ("XDS_ADDRESS", controller.as_str()),
        ("XDS_ROOT_CA", &root),
        ("CA_ADDRESS", &controller),
        ("CA_ROOT_CA", &root),
        ("AUTH_TOKEN", &token),
        ("INPOD_UDS", &socket),
        ("NODE_NAME", node.name()),
        ("CLUSTER_ID", "Kubernetes"),
        ("RUST_LOG", "info"),
    ];
    let mut argv = vec!["env".to_owned()];
    argv.extend(
        variables
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    argv.extend([
        program.display().to_string(),
        "proxy".into(),
        "ztunnel".into(),
    ]);
    node.net.spawn(&format!("stock-{}", node.name()), &argv)
}
