//! `culvert` on a running mesh: what it shows people and programs, and the exit status that says whether all is well.

use anyhow::{Context, Result, ensure};
use culvert_lab::{MeshOptions, Output, process, programs, wait};
use culvert_suites::{Fixture, client, port};
use serde_json::Value;
use std::process::Command;

fn culvert(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(programs::own("culvert")?);
    process::complete(command.args(arguments), process::DEADLINE)
}

fn status(fixture: &Fixture<'_>, arguments: &[&str]) -> Result<Output> {
    let config = fixture.mesh.config_dir().display().to_string();
    culvert(&[&["status", "--config", &config], arguments].concat())
}

fn ztunnel(fixture: &Fixture<'_>, arguments: &[&str]) -> Result<String> {
    let admin = format!("unix:{}", fixture.mesh.ztunnel_admin_socket("n2").display());
    culvert(&[&["ztunnel", "--admin", &admin], arguments].concat())?.success()
}

/// Waits until `culvert status` ends with this code; yields what it printed.
fn status_becomes(fixture: &Fixture<'_>, code: i32) -> Result<String> {
    let mut last = String::new();
    let reached = wait::until(
        format!("culvert status to end with {code}"),
        wait::PATIENCE,
        || {
            let output = status(fixture, &[])?;
            last = output.stdout;
            Ok((output.status.code() == Some(code)).then_some(()))
        },
    );
    reached.with_context(|| last.clone())?;
    Ok(last)
}

#[test]
fn status_tells_a_healthy_mesh_from_a_broken_one() {
    culvert_lab::test("status_tells_a_healthy_mesh_from_a_broken_one", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.talks()?;
        let healthy = status_becomes(&fixture, 0)?;
        for line in ["n1 ", "n2 ", "demo ", "all is well"] {
            ensure!(
                healthy.lines().any(|found| found.starts_with(line)),
                "no line {line:?}: {healthy}"
            );
        }
        for word in [
            "captured",
            "HBONE",
            &fixture.client.identity(),
            &fixture.server.identity(),
        ] {
            ensure!(healthy.contains(word), "no {word}: {healthy}");
        }
        let json: Value = serde_json::from_str(&status(&fixture, &["-o", "json"])?.success()?)?;
        ensure!(
            json["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.len() == 2),
            "{json}"
        );
        let yaml = status(&fixture, &["-o", "yaml"])?.success()?;
        ensure!(yaml.lines().any(|line| line == "nodes:"), "{yaml}");

        fixture.mesh.put("wrong", "apiVersion: v1\nkind: Service\nmetadata:\n  name: odd\n  namespace: demo\nspec:\n  ports: 7\n")?;
        let broken = status_becomes(&fixture, 1)?;
        for word in ["wrong.yaml:", "Service demo/odd", "spec.ports"] {
            ensure!(broken.contains(word), "no {word}: {broken}");
        }
        fixture.mesh.remove("wrong")?;
        status_becomes(&fixture, 0)?;

        fixture.mesh.ztunnel("n2")?.kill()?;
        let broken = status_becomes(&fixture, 1)?;
        ensure!(
            broken.contains("node n2 ztunnel is not connected"),
            "{broken}"
        );
        Ok(())
    });
}

#[test]
fn what_cannot_be_reached_is_exit_status_2() {
    let nowhere = ["status", "--config", "/nonexistent"];
    let unreachable = ["ztunnel", "workloads", "--admin", "unix:/nonexistent"];
    for arguments in [
        &nowhere[..],
        &unreachable,
        &["status", "--no-such-flag"],
        &["ztunnel", "nonsense"],
    ] {
        let output = culvert(arguments).unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            output.stderr
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn ztunnel_shows_what_it_knows_and_does() {
    culvert_lab::test("ztunnel_shows_what_it_knows_and_does", |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.enforce(
            "none-from-afar",
            "  action: DENY\n  rules:\n  - from:\n    - source: {ipBlocks: [192.0.2.0/24]}",
        )?;
        let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
        client::ping(&mut stream, "stays open")?;
        let server = fixture.server.ip().to_string();
        let client = fixture.client.identity();
        for (subject, expected) in [
            (
                "workloads",
                vec!["PROTOCOL", "server", &server, "HBONE", "stranger", "TCP"],
            ),
            ("services", vec!["VIP", "server", "10.96.0.10"]),
            ("policies", vec!["ACTION", "none-from-afar", "DENY"]),
            (
                "certificates",
                vec!["IDENTITY", "/ns/demo/sa/server", "valid"],
            ),
            (
                "connections",
                vec!["PEER", "demo/server", "inbound", &client, "HBONE"],
            ),
        ] {
            let table = ztunnel(&fixture, &[subject])?;
            for word in expected {
                ensure!(table.contains(word), "no {word} among {subject}: {table}");
            }
            let json: Value = serde_json::from_str(&ztunnel(&fixture, &[subject, "-o", "json"])?)?;
            ensure!(
                json.as_array().is_some_and(|items| !items.is_empty()),
                "{subject}: {json}"
            );
        }
        drop(stream);
        Ok(())
    });
}

#[test]
fn completions_name_the_commands() {
    let script = culvert(&["completions", "bash"])
        .unwrap()
        .success()
        .unwrap();
    for command in ["status", "ztunnel", "demo"] {
        assert!(script.contains(command), "{command}");
    }
}
