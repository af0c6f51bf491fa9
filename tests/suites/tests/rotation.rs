//! Certificates that live for seconds: connections do not notice.

use anyhow::{Context, Result, ensure};
use culvert_lab::{MeshOptions, wait};
use culvert_suites::{Fixture, client, port};
use std::{collections::BTreeSet, time::Duration};

/// Serial numbers of the client's certificates that a node's ztunnel shows.
fn serial(fixture: &Fixture<'_>) -> Result<String> {
    let dump = fixture.mesh.ztunnel_dump("n1")?;
    let certificates = dump["certificates"].as_array().context("certificates")?;
    let mine = certificates
        .iter()
        .find(|found| found["identity"] == fixture.client.identity())
        .context("the client's")?;
    Ok(mine["serial"].as_str().context("serial")?.to_owned())
}

#[test]
fn certificates_rotate_under_living_connections() {
    culvert_lab::test("certificates_rotate_under_living_connections", |lab| {
        let options = MeshOptions {
            certificate_ttl: "8s".into(),
            ..MeshOptions::default()
        };
        let fixture = Fixture::start(lab, options)?;
        let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
        let mut serials = BTreeSet::from([serial(&fixture)?]);
        wait::until("three rotations", Duration::from_secs(60), || {
            client::ping(&mut stream, "an old connection").context("while certificates rotate")?;
            client::echo(
                &fixture.client,
                fixture.server.ip(),
                port::ECHO,
                "a new one",
            )?;
            serials.insert(serial(&fixture)?);
            Ok((serials.len() > 3).then_some(()))
        })?;
        client::ping(&mut stream, "still the first connection")
    });
}

#[test]
fn a_valid_certificate_serves_until_it_expires_and_not_longer() {
    culvert_lab::test(
        "a_valid_certificate_serves_until_it_expires_and_not_longer",
        |lab| {
            let options = MeshOptions {
                certificate_ttl: "12s".into(),
                ..MeshOptions::default()
            };
            let mut fixture = Fixture::start(lab, options)?;
            fixture.talks()?;
            fixture.mesh.controller()?.kill()?;
            // Renewal fails from now on: what is valid is used, what has expired is not.
            client::echo(
                &fixture.client,
                fixture.server.ip(),
                port::ECHO,
                "the controller is gone",
            )?;
            wait::until(
                "refusal once the certificates have expired",
                Duration::from_secs(40),
                || Ok(client::refused(&fixture.client, fixture.server.ip(), port::ECHO).ok()),
            )?;
            fixture.mesh.start_controller()?;
            wait::until(
                "traffic with new certificates",
                Duration::from_secs(40),
                || Ok(client::echo(&fixture.client, fixture.server.ip(), port::ECHO, "back").ok()),
            )?;
            ensure!(serial(&fixture)?.len() > 8);
            fixture.talks()
        },
    );
}
