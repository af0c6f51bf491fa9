//! The YAML in docs/ is what it says it is: the controller takes every example.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, Mesh, MeshOptions, wait};
use std::{fs, path::Path};

/// The fenced YAML of a page.
fn examples(page: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let blocks = text.split("```yaml\n").skip(1);
    Ok(blocks
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect())
}

fn taken(lab: &Lab, page: &str, at_least: usize) -> Result<()> {
    let examples = examples(page)?;
    ensure!(
        examples.len() >= at_least,
        "{page} has {} examples",
        examples.len()
    );
    let mut mesh = Mesh::new(lab, MeshOptions::default())?;
    // The page may bring a MeshConfig and nodes of its own.
    for name in ["mesh", "n1", "n2"] {
        mesh.remove(name)?;
    }
    for (index, example) in examples.iter().enumerate() {
        mesh.put(&format!("example-{index}"), example)?;
    }
    mesh.start_controller()?;
    let status = wait::until("a status", wait::PATIENCE, || Ok(mesh.status().ok()))?;
    let rejected = status["rejected"].as_array().context("rejected")?;
    // An example may name a service that another page declares; what it says itself must be understood.
    let wrong: Vec<_> = rejected
        .iter()
        .filter(|found| found["effect"] != "fail-closed")
        .collect();
    ensure!(wrong.is_empty(), "{page}: {wrong:#?}");
    Ok(())
}

#[test]
fn the_configuration_page() {
    culvert_lab::test("the_configuration_page", |lab| {
        taken(lab, "configuration.md", 8)
    });
}

#[test]
fn the_faults_page() {
    culvert_lab::test("the_faults_page", |lab| taken(lab, "faults.md", 5));
}

#[test]
fn the_egress_policy_page() {
    culvert_lab::test("the_egress_policy_page", |lab| {
        taken(lab, "egress-policy.md", 4)
    });
}

#[test]
fn the_waypoint_page() {
    culvert_lab::test("the_waypoint_page", |lab| taken(lab, "waypoint.md", 1));
}

#[test]
fn the_ingress_page() {
    culvert_lab::test("the_ingress_page", |lab| taken(lab, "ingress.md", 1));
}

#[test]
fn the_gateway_page() {
    culvert_lab::test("the_gateway_page", |lab| taken(lab, "gateway.md", 2));
}

#[test]
fn the_egress_page() {
    culvert_lab::test("the_egress_page", |lab| taken(lab, "egress.md", 4));
}
