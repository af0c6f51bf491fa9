//! Parts of the mesh that die, in any order: nothing leaks in the clear, nothing that worked stops without need, and all
//! comes back by itself.

use anyhow::ensure;
use culvert_lab::{MeshOptions, wait};
use culvert_suites::{Fixture, client, port};
use std::io::Write;

#[test]
fn traffic_and_certificates_outlive_the_controller() {
    culvert_lab::test("traffic_and_certificates_outlive_the_controller", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
        client::ping(&mut stream, "before")?;
        fixture.mesh.controller()?.kill()?;
        client::ping(&mut stream, "without a controller")?;
        fixture.talks()?;
        // A change made meanwhile takes effect once it is back; nothing else changes.
        fixture.mesh.put(
            "late",
            &culvert_suites::policy(
                "late",
                "  action: DENY\n  rules:\n  - to:\n    - operation: {ports: [\"80\"]}",
            ),
        )?;
        client::echo(&fixture.client, fixture.server.ip(), port::ECHO, "still")?;
        fixture.mesh.start_controller()?;
        fixture
            .mesh
            .wait_ztunnel_state("n2", "the policy of the outage", |dump| {
                dump["policies"].to_string().contains("late")
            })?;
        client::ping(&mut stream, "and after")?;
        client::refused(&fixture.client, fixture.server.ip(), port::HTTP)?;
        fixture.talks()
    });
}

#[test]
fn a_killed_ztunnel_leaks_nothing_and_comes_back() {
    culvert_lab::test("a_killed_ztunnel_leaks_nothing_and_comes_back", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.talks()?;
        let rules = fixture.client.net.rules()?;
        for node in ["n1", "n2"] {
            fixture.mesh.ztunnel(node)?.kill()?;
            client::refused(&fixture.client, fixture.server.ip(), port::ECHO)?;
            client::refused(&fixture.client, fixture.server.ip(), port::HTTP)?;
            ensure!(
                fixture.client.net.rules()? == rules,
                "the rules stay as they were"
            );
            fixture.mesh.start_ztunnel(node)?;
            fixture.mesh.wait_ztunnel_ready(node)?;
            wait::until("traffic after the restart", wait::PATIENCE, || {
                Ok(client::echo(&fixture.client, fixture.server.ip(), port::ECHO, "back").ok())
            })?;
            fixture.talks()?;
        }
        Ok(())
    });
}

#[test]
fn agent_and_ztunnel_restart_in_either_order_without_the_controller() {
    culvert_lab::test(
        "agent_and_ztunnel_restart_in_either_order_without_the_controller",
        |lab| {
            let mut fixture = Fixture::start(lab, MeshOptions::default())?;
            fixture.talks()?;
            let rules = fixture.client.net.rules()?;
            let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
            client::ping(&mut stream, "before")?;
            fixture.mesh.agent("n1")?.kill()?;
            client::ping(&mut stream, "the agent's death touches nothing")?;
            fixture.talks()?;
            fixture.mesh.start_agent("n1")?;
            client::ping(&mut stream, "nor does its return")?;

            // Both at once; then the ztunnel first, then the agent first.
            for agent_first in [false, true] {
                fixture.mesh.agent("n1")?.kill()?;
                fixture.mesh.ztunnel("n1")?.kill()?;
                client::refused(&fixture.client, fixture.server.ip(), port::ECHO)?;
                if agent_first {
                    fixture.mesh.start_agent("n1")?;
                    fixture.mesh.start_ztunnel("n1")?;
                } else {
                    fixture.mesh.start_ztunnel("n1")?;
                    fixture.mesh.start_agent("n1")?;
                }
                wait::until("traffic after the restart", wait::PATIENCE, || {
                    Ok(client::echo(&fixture.client, fixture.server.ip(), port::ECHO, "back").ok())
                })?;
                fixture.talks()?;
                ensure!(
                    without_marks(&fixture.client.net.rules()?) == without_marks(&rules),
                    "rules changed over a restart"
                );
            }
            Ok(())
        },
    );
}

/// Rules but for what an agent may choose anew.
fn without_marks(rules: &str) -> Vec<&str> {
    rules
        .lines()
        .filter(|line| !line.contains("mark") && !line.contains("generation"))
        .collect()
}

#[test]
fn a_draining_ztunnel_finishes_what_is_open_and_takes_nothing_new() {
    culvert_lab::test(
        "a_draining_ztunnel_finishes_what_is_open_and_takes_nothing_new",
        |lab| {
            let mut fixture = Fixture::start(lab, MeshOptions::default())?;
            for node in ["n2", "n1"] {
                let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
                client::ping(&mut stream, "before the drain")?;
                fixture
                    .mesh
                    .ztunnel(node)?
                    .signal(nix::sys::signal::Signal::SIGTERM)?;
                wait::until("new connections are refused", wait::PATIENCE, || {
                    Ok(client::refused(&fixture.client, fixture.server.ip(), port::ECHO).ok())
                })?;
                client::ping(&mut stream, "during the drain")?;
                stream.write_all(&[b'.'; 100_000])?;
                let mut rest = vec![0; 100_000];
                std::io::Read::read_exact(&mut stream, &mut rest)?;
                drop(stream);
                let status = fixture.mesh.ztunnel(node)?.wait(wait::PATIENCE)?;
                ensure!(status.success(), "a drained ztunnel ends with {status}");
                fixture.mesh.start_ztunnel(node)?;
                fixture.mesh.wait_ztunnel_ready(node)?;
                wait::until("traffic after the restart", wait::PATIENCE, || {
                    Ok(client::echo(&fixture.client, fixture.server.ip(), port::ECHO, "back").ok())
                })?;
            }
            Ok(())
        },
    );
}
