//! IPv6 alone: everything works without a single IPv4 address.

use anyhow::{Result, ensure};
use culvert_lab::{
    Family, Lab, Mesh, MeshOptions,
    objects::{self, AMBIENT, Port},
};
use culvert_suites::{VIP6, client, port};

fn talk(lab: &Lab) -> Result<()> {
    let (one, two) = (
        lab.pod("n1", "demo", "client", "client")?,
        lab.pod("n2", "demo", "server", "server")?,
    );
    let _echo = culvert_suites::start_echo(&two, "server")?;
    let mut mesh = Mesh::start(lab, MeshOptions::default())?;
    mesh.put_namespace("demo", &[AMBIENT])?;
    mesh.put_pod(&one, &[], &[])?;
    mesh.put_pod(&two, &[], &[])?;
    mesh.put(
        "server",
        &objects::service(
            "demo",
            "server",
            "server",
            &[VIP6],
            &[Port::same(port::ECHO)],
            &[],
        ),
    )?;
    for pod in [&one, &two] {
        mesh.wait_captured(pod)?;
        mesh.wait_ztunnel_state("n1", "both pods speak HBONE", |dump| {
            culvert_suites::workload(dump, pod).is_some_and(|found| found["tunnel"] == "HBONE")
        })?;
    }
    for ip in [two.ip(), VIP6] {
        client::echo(&one, ip, port::ECHO, "six")?;
    }
    let resolved = one.net.run(&["getent", "ahostsv6", "server"])?;
    ensure!(resolved.starts_with(&VIP6.to_string()), "{resolved}");
    let mut stream = client::connect(&one, two.ip(), port::ECHO)?;
    client::ping(&mut stream, "who am I")?;
    ensure!(
        mesh.ztunnel_connections("n2")?
            .to_string()
            .contains(&one.identity())
    );
    ensure!(mesh.ztunnel("n1")?.is_running());
    Ok(())
}

#[test]
fn a_mesh_of_ipv6_alone() {
    // The world's own laboratory has both families and stays unused: this one takes its place.
    culvert_lab::test_with(Family::V6, "a_mesh_of_ipv6_alone", talk);
}
