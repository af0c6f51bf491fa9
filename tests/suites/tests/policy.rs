//! Who may talk to whom: L4 policy on new and on living connections, STRICT, and what nobody may reach.

use anyhow::{Result, ensure};
use culvert_lab::{MeshOptions, Pod};
use culvert_suites::{Fixture, VIP4, client, port};
use std::net::{IpAddr, Ipv4Addr};

fn allowed(pod: &Pod, fixture: &Fixture<'_>, port: u16) -> Result<()> {
    client::echo(pod, fixture.server.ip(), port, "allowed?")
}

fn denied(pod: &Pod, fixture: &Fixture<'_>, port: u16) -> Result<()> {
    client::refused(pod, fixture.server.ip(), port).map(drop)
}

#[test]
fn rules_name_principals_namespaces_addresses_and_ports() {
    culvert_lab::test(
        "rules_name_principals_namespaces_addresses_and_ports",
        |lab| {
            let fixture = Fixture::start(lab, MeshOptions::default())?;
            let other = fixture.add_pod("n1", "elsewhere", "other", "other")?;
            let client_ip = fixture.client.ip();
            let cases = [
            (
                "deny-principal",
                "  action: DENY\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/demo/sa/client]}".to_owned(),
                [false, true],
            ),
            (
                "allow-principal",
                "  action: ALLOW\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/demo/sa/client]}".to_owned(),
                [true, false],
            ),
            (
                "deny-namespace",
                "  action: DENY\n  rules:\n  - from:\n    - source: {namespaces: [elsewhere]}".to_owned(),
                [true, false],
            ),
            (
                "allow-block",
                format!("  action: ALLOW\n  rules:\n  - from:\n    - source: {{ipBlocks: [\"{client_ip}/32\"]}}"),
                [true, false],
            ),
            (
                "deny-port",
                format!("  action: DENY\n  rules:\n  - to:\n    - operation: {{ports: [\"{}\"]}}", port::ECHO),
                [false, false],
            ),
            (
                "deny-other-port",
                "  action: DENY\n  rules:\n  - to:\n    - operation: {ports: [\"9999\"]}".to_owned(),
                [true, true],
            ),
        ];
            for (name, spec, expected) in cases {
                fixture.enforce(name, &spec)?;
                for (pod, allow) in [&fixture.client, &other].into_iter().zip(expected) {
                    let outcome = if allow {
                        allowed(pod, &fixture, port::ECHO)
                    } else {
                        denied(pod, &fixture, port::ECHO)
                    };
                    outcome.map_err(|error| error.context(format!("{name}, {}", pod.key())))?;
                }
                fixture.lift(name)?;
            }
            allowed(&fixture.client, &fixture, port::ECHO)
        },
    );
}

#[test]
fn the_resolved_port_is_what_is_authorised() {
    culvert_lab::test("the_resolved_port_is_what_is_authorised", |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        // The service's port 8000 leads to 7000: allowing 8000 allows nothing.
        fixture.enforce(
            "allow-service-port",
            "  action: ALLOW\n  rules:\n  - to:\n    - operation: {ports: [\"8000\"]}",
        )?;
        client::refused(&fixture.client, VIP4, port::MAPPED)?;
        fixture.lift("allow-service-port")?;
        fixture.enforce(
            "allow-target-port",
            "  action: ALLOW\n  rules:\n  - to:\n    - operation: {ports: [\"7000\"]}",
        )?;
        client::echo(&fixture.client, VIP4, port::MAPPED, "by its real port")?;
        client::refused(&fixture.client, VIP4, port::HTTP)?;
        Ok(())
    });
}

#[test]
fn a_policy_ends_living_connections_that_it_denies_and_no_others() {
    culvert_lab::test(
        "a_policy_ends_living_connections_that_it_denies_and_no_others",
        |lab| {
            let mut fixture = Fixture::start(lab, MeshOptions::default())?;
            let other = fixture.add_pod("n1", "elsewhere", "other", "other")?;
            let before = fixture.descriptors()?;
            let mut mine = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
            let mut others = client::connect(&other, fixture.server.ip(), port::ECHO)?;
            let mut plain = client::connect(&fixture.stranger, fixture.server.ip(), port::ECHO)?;
            for stream in [&mut mine, &mut others, &mut plain] {
                client::ping(stream, "alive")?;
            }
            fixture.enforce(
            "deny-client",
            "  action: DENY\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/demo/sa/client]}",
        )?;
            ensure!(
                client::ended(&mut mine)?.is_some(),
                "a denied connection is reset, not ended politely"
            );
            client::ping(&mut others, "still alive")?;
            client::ping(&mut plain, "still alive")?;
            denied(&fixture.client, &fixture, port::ECHO)?;
            fixture.lift("deny-client")?;
            // STRICT ends what is plain, and refuses it from now on.
            fixture.mesh.put("strict", &peer_authentication("STRICT"))?;
            ensure!(
                client::ended(&mut plain)?.is_some(),
                "a plain connection under STRICT is reset"
            );
            client::ping(&mut others, "encrypted, so still alive")?;
            denied(&fixture.stranger, &fixture, port::ECHO)?;
            allowed(&fixture.client, &fixture, port::ECHO)?;
            drop((mine, others, plain));
            fixture.no_descriptors_left(before, 4)
        },
    );
}

fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: demo}}\n\
         spec:\n  mtls: {{mode: {mode}}}\n"
    )
}

#[test]
fn nobody_without_an_identity_satisfies_a_rule_about_identities() {
    culvert_lab::test(
        "nobody_without_an_identity_satisfies_a_rule_about_identities",
        |lab| {
            let fixture = Fixture::start(lab, MeshOptions::default())?;
            allowed(&fixture.stranger, &fixture, port::ECHO)?;
            let rules = [
                "  action: ALLOW\n  rules:\n  - from:\n    - source: {principals: [\"*\"]}",
                "  action: ALLOW\n  rules:\n  - from:\n    - source: {notPrincipals: [cluster.local/ns/demo/sa/nobody]}",
                "  action: ALLOW\n  rules:\n  - from:\n    - source: {notNamespaces: [nowhere]}",
                "  action: DENY\n  rules:\n  - from:\n    - source: {notPrincipals: [cluster.local/ns/demo/sa/client]}",
                "  action: DENY\n  rules:\n  - from:\n    - source: {notNamespaces: [demo]}",
            ];
            for (index, spec) in rules.into_iter().enumerate() {
                let name = format!("rule-{index}");
                fixture.enforce(&name, spec)?;
                denied(&fixture.stranger, &fixture, port::ECHO)
                    .map_err(|error| error.context(spec))?;
                allowed(&fixture.client, &fixture, port::ECHO)
                    .map_err(|error| error.context(spec))?;
                fixture.lift(&name)?;
            }
            Ok(())
        },
    );
}

#[test]
fn mesh_ports_and_unknown_addresses_are_refused() {
    culvert_lab::test("mesh_ports_and_unknown_addresses_are_refused", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let before = fixture.descriptors()?;
        let own = [fixture.client.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let node = lab.node("n1")?.address(lab.family());
        for ip in [fixture.server.ip(), VIP4, node].into_iter().chain(own) {
            for mesh_port in [15001, 15006, 15008, 15053] {
                client::refused(&fixture.client, ip, mesh_port)?;
            }
        }
        // From outside the mesh too: what listens there asks for a certificate or knows no such destination.
        for mesh_port in [15001, 15006, 15008, 15053] {
            client::refused(&fixture.stranger, fixture.server.ip(), mesh_port)?;
        }
        // Addresses of the cluster's own ranges that belong to nobody.
        for unknown in [Ipv4Addr::new(10, 12, 0, 250), Ipv4Addr::new(10, 96, 0, 250)] {
            client::refused(&fixture.client, IpAddr::V4(unknown), port::ECHO)?;
        }
        fixture.talks()?;
        fixture.no_descriptors_left(before, 4)
    });
}
