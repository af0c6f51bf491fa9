//! Two pods of one node: encrypted unless MeshConfig says otherwise, and then still with identity and policy, and never
//! past a NetworkPolicy.

use anyhow::{Result, ensure};
use culvert_lab::{Lab, MeshOptions, Pod, wait};
use culvert_suites::{Fixture, VIP4, client, port, start_echo};

/// How the connection of a client to a server of its own node went, as its ztunnel shows it while it is open.
fn in_process(fixture: &Fixture<'_>, from: &Pod, to: &Pod) -> Result<bool> {
    let mut stream = client::connect(from, to.ip(), port::ECHO)?;
    client::ping(&mut stream, "which way?")?;
    let connections = fixture.mesh.ztunnel_connections("n2")?;
    let text = connections.to_string();
    let (inside, outside) = ("\"in_process\":true", "\"in_process\":false");
    let count = |what: &str| text.matches(what).count();
    ensure!(
        [(2, 0), (0, 2)].contains(&(count(inside), count(outside))),
        "both ends are shown, and went the same way: {text}"
    );
    Ok(count(inside) == 2)
}

fn wait_way(fixture: &Fixture<'_>, from: &Pod, to: &Pod, wanted: bool) -> Result<()> {
    wait::until(format!("in process: {wanted}"), wait::PATIENCE, || {
        Ok((in_process(fixture, from, to)? == wanted).then_some(()))
    })
}

/// A mesh in which it is taken, and a pod on the server's node that takes it.
fn in_one_process(lab: &Lab) -> Result<(Fixture<'_>, Pod)> {
    let options = MeshOptions {
        same_node: "InProcess".into(),
        ..MeshOptions::default()
    };
    let fixture = Fixture::start(lab, options)?;
    let near = fixture.add_pod("n2", "elsewhere", "near", "near")?;
    wait_way(&fixture, &near, &fixture.server, true)?;
    Ok((fixture, near))
}

fn network_policy(namespace: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: any, namespace: {namespace}}}\n\
         spec:\n  podSelector: {{}}\n  policyTypes: [Ingress]\n"
    )
}

#[test]
fn it_is_taken_where_it_is_allowed_and_policy_decides_as_over_hbone() {
    let name = "it_is_taken_where_it_is_allowed_and_policy_decides_as_over_hbone";
    culvert_lab::test(name, |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        let near = fixture.add_pod("n2", "elsewhere", "near", "near")?;
        let server = &fixture.server;
        ensure!(
            !in_process(&fixture, &near, server)?,
            "nobody asked for anything but HBONE"
        );
        fixture.mesh.put_config("InProcess")?;
        wait_way(&fixture, &near, server, true)?;
        client::echo(&near, VIP4, port::MAPPED, "by the service's name")?;
        fixture.talks()?;

        let metrics = fixture.mesh.ztunnel_metrics("n2")?;
        let opened = |line: &&str| {
            line.starts_with("istio_tcp_connections_opened_total")
                && line.contains("source_workload_namespace=\"elsewhere\"")
                && line.contains("connection_security_policy=\"in_process\"")
                && line.contains("source_principal=\"spiffe://cluster.local/ns/elsewhere/sa/near\"")
                && line
                    .contains("destination_principal=\"spiffe://cluster.local/ns/demo/sa/server\"")
        };
        for reporter in ["source", "destination"] {
            let reporter = format!("reporter=\"{reporter}\"");
            ensure!(
                metrics
                    .lines()
                    .filter(opened)
                    .any(|line| line.contains(&reporter)),
                "{reporter}: {metrics}"
            );
        }

        // A living connection loses to a policy, and new ones are refused for the same identity only.
        let mut living = client::connect(&near, server.ip(), port::ECHO)?;
        client::ping(&mut living, "alive")?;
        fixture.enforce(
            "deny-near",
            "  action: DENY\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/elsewhere/sa/near]}",
        )?;
        ensure!(
            client::ended(&mut living)?.is_some(),
            "a denied connection is reset"
        );
        client::refused(&near, server.ip(), port::ECHO)?;
        client::echo(&fixture.client, server.ip(), port::ECHO, "another identity")?;
        fixture.lift("deny-near")?;
        for mesh_port in [15001, 15006, 15008, 15053] {
            client::refused(&near, server.ip(), mesh_port)?;
        }
        wait_way(&fixture, &near, server, true)
    });
}

#[test]
fn a_network_policy_of_either_end_sends_it_over_the_network() {
    let name = "a_network_policy_of_either_end_sends_it_over_the_network";
    culvert_lab::test(name, |lab| {
        let (mut fixture, near) = in_one_process(lab)?;
        let before = fixture.descriptors()?;
        for namespace in ["elsewhere", "demo"] {
            let server = &fixture.server;
            let mut living = client::connect(&near, server.ip(), port::ECHO)?;
            client::ping(&mut living, "alive")?;
            fixture.mesh.put("any", &network_policy(namespace))?;
            ensure!(
                client::ended(&mut living)?.is_some(),
                "{namespace}: what stays within the node is reset"
            );
            wait_way(&fixture, &near, server, false)?;
            fixture.mesh.remove("any")?;
            wait_way(&fixture, &near, server, true)?;
        }
        // And when the mesh wants all of it encrypted.
        let mut living = client::connect(&near, fixture.server.ip(), port::ECHO)?;
        client::ping(&mut living, "alive")?;
        fixture.mesh.put_config("Hbone")?;
        ensure!(
            client::ended(&mut living)?.is_some(),
            "what is not encrypted is reset"
        );
        wait_way(&fixture, &near, &fixture.server, false)?;
        drop(living);
        fixture.no_descriptors_left(before, 6)
    });
}

#[test]
fn bytes_arrive_whole_in_both_directions_and_ends_are_kept_apart() {
    let name = "bytes_arrive_whole_in_both_directions_and_ends_are_kept_apart";
    culvert_lab::test(name, |lab| {
        let (fixture, near) = in_one_process(lab)?;
        let server = &fixture.server;
        let (source, sink) = ((server.ip(), port::SOURCE), (VIP4, port::SINK));
        client::through(&near, source, sink, 256 << 20)?;
        // A pod that dials itself by its service, and one that is dialled back.
        client::echo(server, VIP4, port::MAPPED, "myself")?;
        let _echo = start_echo(&near, "near")?;
        client::echo(server, near.ip(), port::ECHO, "the other way round")
    });
}
