//! Meshes of many workloads: how much a ztunnel that knows all of them weighs, how long after its start the first
//! connection works, and, while pods come and go, what each that does costs a ztunnel and how soon a new service can be
//! used.
//!
//! Ours and the peer take turns under the same controller, agents and captured pods, which know everything before the
//! clock starts: what is timed is a ztunnel's start, its join, and that it has learnt enough to carry a connection.

use super::{churn::Churn, objects};
use crate::{
    cpu,
    figures::{Figures, number},
    memory,
    results::Sample,
    stage::{HTTP, NAMESPACE, Place, Stage},
    stats, stock,
    subject::{self, CULVERT, STOCK},
    work::names,
};
use anyhow::{Context, Result, ensure};
use culvert_lab::{
    Lab, Mesh, MeshOptions, Process,
    objects::{Port, service},
    until,
    wait::PATIENCE,
};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

const SIZES: [usize; 3] = [1000, 10_000, 100_000];
/// How long the largest mesh may take to be known.
const LONG: Duration = Duration::from_secs(180);
/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(60);
/// The same when agents have to change over to another kind of ztunnel, and how often that is tried.
const CHANGE: Duration = Duration::from_secs(20);
const CHANGES: usize = 5;
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long the cost of churn is counted.
const CHURN: Duration = Duration::from_secs(4);
/// Between two new services.
const APART: Duration = Duration::from_millis(700);
/// New services of one measurement, whose median counts, and where they are.
const FRESH: u8 = 3;
const FRESH_FROM: [u8; 3] = [10, 96, 99];

/// All sizes that are wanted.
pub(super) fn run(
    lab: &Lab,
    stage: &Stage,
    stock: Option<&Path>,
    (rounds, samples): (usize, &mut Vec<Sample>),
    only: impl Fn(&str) -> bool,
) -> Result<()> {
    let sizes: Vec<usize> = SIZES
        .into_iter()
        .filter(|size| only(&names::catalogue(*size)))
        .collect();
    let Some(first) = sizes.first().copied() else {
        return Ok(());
    };
    let mut mesh = Mesh::new(lab, MeshOptions::default())?;
    objects::write(&mesh, 0, first)?;
    mesh.start_controller()?;
    for node in lab.nodes() {
        mesh.start_agent(node.name())?;
        mesh.start_ztunnel(node.name())?;
    }
    subject::enroll(&mesh, stage)?;
    let mut known = first;
    for size in sizes {
        objects::write(&mesh, known, size)?;
        known = size;
        start_ours(&mut mesh, lab)?;
        wait_for_all(&mesh, size)?;
        for round in 1..=rounds {
            let mut each: Vec<Option<&Path>> = vec![None];
            each.extend(stock.map(Some));
            for program in each {
                let figures = once(&mut mesh, lab, stage, program, size)
                    .with_context(|| format!("{size} workloads"))?;
                let subject = program.map_or(CULVERT, |_| STOCK);
                eprintln!(
                    "{size} workloads: {subject}: {}",
                    crate::figures::line(&figures)
                );
                samples.push(Sample {
                    round,
                    place: Place::TwoNodes,
                    work: names::catalogue(size),
                    subject: subject.to_owned(),
                    figures,
                    latency: None,
                });
            }
        }
    }
    start_ours(&mut mesh, lab)?;
    objects::remove(&mesh, known)?;
    mesh.put_namespace(NAMESPACE, &[])?;
    stage.pods().try_for_each(|pod| mesh.wait_released(pod))?;
    Ok(())
}

/// Ends whatever ztunnels run and starts ours.
fn start_ours(mesh: &mut Mesh<'_>, lab: &Lab) -> Result<()> {
    end(mesh, lab)?;
    lab.nodes()
        .iter()
        .try_for_each(|node| mesh.start_ztunnel(node.name()))
}

fn end(mesh: &mut Mesh<'_>, lab: &Lab) -> Result<()> {
    lab.nodes()
        .iter()
        .try_for_each(|node| mesh.ztunnel(node.name())?.kill())
}

/// Ends whatever ztunnels run and starts a pair; the peer's are returned, ours belong to the mesh.
fn start(mesh: &mut Mesh<'_>, lab: &Lab, stock: Option<&Path>) -> Result<Vec<Process>> {
    end(mesh, lab)?;
    let mut peers = Vec::new();
    for node in lab.nodes() {
        match stock {
            Some(program) => peers.push(stock::spawn(program, mesh, node)?),
            None => mesh.start_ztunnel(node.name())?,
        }
    }
    Ok(peers)
}

fn answer(stage: &Stage, within: Duration) -> Result<()> {
    let server = stage.server(Place::TwoNodes, HTTP);
    until("the first answer", within, || {
        stage.client().net.enter(|| ask(server))?.map(Some)
    })
}

/// Starts pairs, untimed, until one carries traffic: agents make their rules anew for a ztunnel of another kind than the
/// last one, and a connection that comes before they have can lead a ztunnel back to itself for good.
fn change_over(mesh: &mut Mesh<'_>, lab: &Lab, stage: &Stage, stock: Option<&Path>) -> Result<()> {
    for _ in 1..CHANGES {
        let _pair = start(mesh, lab, stock)?;
        if answer(stage, CHANGE).is_ok() {
            return Ok(());
        }
    }
    let _pair = start(mesh, lab, stock)?;
    answer(stage, CHANGE)
}

/// Starts a pair of ztunnels, waits for the first answer, and weighs them.
fn once(
    mesh: &mut Mesh<'_>,
    lab: &Lab,
    stage: &Stage,
    stock: Option<&Path>,
    size: usize,
) -> Result<Figures> {
    change_over(mesh, lab, stage, stock)?;
    end(mesh, lab)?;
    let begin = Instant::now();
    let peers = start(mesh, lab, stock)?;
    answer(stage, FIRST)?;
    let first_use = begin.elapsed().as_secs_f64();
    until("a tunnel", PATIENCE, || {
        Ok(stage.tunnelled()?.then_some(()))
    })?;
    let mut pids: Vec<u32> = peers.iter().map(Process::pid).collect();
    if pids.is_empty() {
        pids = vec![mesh.ztunnel("n1")?.pid(), mesh.ztunnel("n2")?.pid()];
        // The rest comes after what the pods need.
        wait_for_all(mesh, size)?;
    }
    let churn = Churn::start(mesh);
    let before = churn.changes();
    let ((), cpu) = cpu::spent(&pids, || {
        thread::sleep(CHURN);
        Ok(())
    })?;
    let changes = number(churn.changes() - before).max(1.0);
    let fresh = fresh(mesh, stage)?;
    churn.end()?;
    let memory = memory::settled(&pids)?;
    Ok(Figures::from([
        (names::FIRST_USE.into(), first_use),
        (names::CATALOGUE_MB.into(), memory::megabytes(memory) / 2.0),
        (names::CHANGE.into(), cpu.proxies * 1e3 / 2.0 / changes),
        (names::FRESH.into(), fresh),
    ]))
}

/// Seconds from the moment at which a service of the far server is written down to the first answer at its address.
fn fresh(mesh: &Mesh<'_>, stage: &Stage) -> Result<f64> {
    let port = Port::same(HTTP);
    let mut seconds = Vec::new();
    for index in 0..FRESH {
        let name = format!("fresh-{index}");
        let [a, b, c] = FRESH_FROM;
        let vip = IpAddr::V4(Ipv4Addr::new(a, b, c, index));
        let service = service(NAMESPACE, &name, &stage.far().name, &[vip], &[port], &[]);
        let server = SocketAddr::new(vip, HTTP);
        let early = stage.client().net.enter(|| ask(server))?;
        ensure!(early.is_err(), "{server} answers before there is a service");
        let begin = Instant::now();
        mesh.put(&name, &service)?;
        until("an answer of a new service", FIRST, || {
            stage.client().net.enter(|| ask(server))?.map(Some)
        })?;
        seconds.push(begin.elapsed().as_secs_f64());
        mesh.remove(&name)?;
        // The next one must not find it in the batch of this one's end.
        thread::sleep(APART);
    }
    Ok(stats::median(&seconds))
}

/// Until our ztunnels know all.
fn wait_for_all(mesh: &Mesh<'_>, size: usize) -> Result<()> {
    ["n1", "n2"].iter().try_for_each(|node| {
        until(
            format!("{size} workloads at the ztunnel of {node}"),
            LONG,
            || Ok((workloads(mesh, node)? >= size).then_some(())),
        )
    })
}

/// How many a ztunnel of ours knows.
fn workloads(mesh: &Mesh<'_>, node: &str) -> Result<usize> {
    let dump = mesh.ztunnel_dump(node)?;
    let workloads = dump.get("workloads").context("no workloads in the dump")?;
    Ok(workloads
        .as_array()
        .map(Vec::len)
        .or_else(|| workloads.as_object().map(serde_json::Map::len))
        .unwrap_or_default())
}

fn ask(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.write_all(b"GET /64B HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no answer");
    Ok(())
}
