//! Pods join and leave the mesh while they run, and configuration that is wrong changes nothing.

use anyhow::{Context, ensure};
use culvert_lab::{MeshOptions, leaks, objects::AMBIENT, wait};
use culvert_suites::{Fixture, client, port};

#[test]
fn a_running_pod_joins_and_leaves_without_a_restart() {
    culvert_lab::test("a_running_pod_joins_and_leaves_without_a_restart", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let late = lab.pod("n2", "late", "late", "late")?;
        let _echo = culvert_suites::start_echo(&late, "late")?;
        fixture.mesh.put_namespace("late", &[])?;
        fixture.mesh.put_pod(&late, &[], &[])?;
        fixture.wait_protocol("n1", &late, "NONE")?;
        let (rules, before) = (late.net.rules()?, fixture.descriptors()?);
        let namespaces = leaks::network_namespaces()?;
        for round in 0..3 {
            // Not yet, or no longer: plain, and it works.
            client::echo(&fixture.client, late.ip(), port::ECHO, "plain")?;
            wait::until("the rules that were there before", wait::PATIENCE, || {
                Ok((late.net.rules()? == rules).then_some(()))
            })
            .with_context(|| format!("round {round}"))?;
            fixture.mesh.put_namespace("late", &[AMBIENT])?;
            fixture.converged(&[&late])?;
            let mut stream = client::connect(&fixture.client, late.ip(), port::ECHO)?;
            client::ping(&mut stream, "encrypted")?;
            let shown = fixture.mesh.ztunnel_connections("n2")?.to_string();
            ensure!(
                shown.contains(&fixture.client.identity()),
                "round {round}: {shown}"
            );
            drop(stream);
            fixture.mesh.put_namespace("late", &[])?;
            fixture.mesh.wait_released(&late)?;
            fixture.wait_protocol("n1", &late, "NONE")?;
        }
        fixture.no_descriptors_left(before, 4)?;
        ensure!(leaks::network_namespaces()? == namespaces);
        Ok(())
    });
}

#[test]
fn wrong_configuration_is_named_and_changes_nothing() {
    culvert_lab::test("wrong_configuration_is_named_and_changes_nothing", |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.enforce(
            "guard",
            "  action: DENY\n  rules:\n  - to:\n    - operation: {ports: [\"80\"]}",
        )?;
        let wrong = [
            (
                "guard",
                "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: guard, namespace: demo}\nspec:\n  action: ALLOWW\n",
                "action",
                5,
            ),
            (
                "guard",
                "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: guard, namespace: demo}\nspec:\n  action: DENY\n  rulez: []\n",
                "rulez",
                6,
            ),
            (
                "guard",
                "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata:\n  name: guard\n   namespace: demo\n",
                "",
                5,
            ),
            (
                "server",
                "apiVersion: v1\nkind: Service\nmetadata: {name: server, namespace: demo}\nspec:\n  clusterIP: 10.96.0.10\n  ports:\n  - {name: echo, port: 70000}\n",
                "port",
                7,
            ),
        ];
        for (file, yaml, field, line) in wrong {
            fixture.mesh.put(file, yaml)?;
            let rejected = wait::until(
                format!("{file} rejected for {field:?}"),
                wait::PATIENCE,
                || {
                    let status = fixture.mesh.status()?;
                    let rejected = status["rejected"].as_array().context("rejected")?.clone();
                    Ok(rejected.into_iter().find(|found| {
                        found["file"]
                            .as_str()
                            .is_some_and(|name| name.ends_with(&format!("{file}.yaml")))
                            && found["line"] == line
                            && (field.is_empty()
                                || found["field"]
                                    .as_str()
                                    .is_some_and(|path| path.contains(field)))
                    }))
                },
            )?;
            ensure!(
                rejected["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty()),
                "{rejected}"
            );
            if !field.is_empty() {
                ensure!(
                    rejected["object"]
                        .as_str()
                        .is_some_and(|object| object.contains(file)),
                    "{rejected}"
                );
            }
            // What was served before is served still: the policy, and the service.
            client::refused(&fixture.client, fixture.server.ip(), port::HTTP)?;
            client::echo(
                &fixture.client,
                culvert_suites::VIP4,
                port::ECHO,
                "as before",
            )?;
        }
        Ok(())
    });
}

/// What a pod had open in plaintext before it joined goes on, until STRICT is switched on; what ztunnel carries stays.
#[test]
fn strict_ends_plaintext_from_before_and_nothing_else() {
    culvert_lab::test(
        "strict_ends_plaintext_from_before_and_nothing_else",
        |lab| {
            let fixture = Fixture::start(lab, MeshOptions::default())?;
            let late = lab.pod("n2", "late", "late", "late")?;
            let _echo = culvert_suites::start_echo(&late, "late")?;
            fixture.mesh.put_namespace("late", &[])?;
            fixture.mesh.put_pod(&late, &[], &[])?;
            fixture.wait_protocol("n1", &late, "NONE")?;
            let outsider = lab.pod("n1", "outside", "outsider", "outsider")?;
            let mut before = client::connect(&outsider, late.ip(), port::ECHO)?;
            client::ping(&mut before, "before")?;
            fixture.mesh.put_namespace("late", &[AMBIENT])?;
            fixture.converged(&[&late])?;
            let mut encrypted = client::connect(&fixture.client, late.ip(), port::ECHO)?;
            client::ping(&mut encrypted, "encrypted")?;
            client::ping(&mut before, "permissive")?;
            fixture.mesh.put(
                "late-strict",
                "apiVersion: culvert.dev/v1alpha1\nkind: PeerAuthentication\n\
             metadata: {name: default, namespace: late}\nspec: {mtls: {mode: STRICT}}\n",
            )?;
            wait::until("the connection counted as closed", wait::PATIENCE, || {
                let status = fixture.mesh.status()?;
                let nodes = status["nodes"].as_array().context("nodes")?;
                let pods = nodes.iter().filter_map(|node| node["pods"].as_array());
                let mut late = pods.flatten().filter(|pod| pod["name"] == "late");
                let counted = |pod: &serde_json::Value| {
                    pod["connectionsClosed"] == 1 && pod["connectionsBefore"] == 0
                };
                Ok(late.any(counted).then_some(()))
            })?;
            ensure!(client::ping(&mut before, "strict").is_err());
            client::ping(&mut encrypted, "still encrypted")?;
            client::echo(&fixture.client, late.ip(), port::ECHO, "encrypted anew")?;
            Ok(())
        },
    );
}
