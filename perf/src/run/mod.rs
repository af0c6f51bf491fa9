//! The run: every subject in every round, each with all work, then the meshes of many workloads.

mod catalogue;
mod churn;
mod hop;
mod objects;
mod plan;

use crate::{
    figures, machine, profile,
    results::{self, Run, Sample},
    stage::{Body, Place, Stage},
    stats,
    subject::{Running, Subject},
    table, targets, wireguard,
    work::{Http, Setting, TOO_BUSY, Work as _, names},
};
use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use culvert_lab::Lab;
use plan::Item;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// What to measure and where to write it.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The stock ztunnel to compare with.
    #[arg(long, env = "ZTUNNEL", value_name = "PATH")]
    ztunnel: Option<PathBuf>,
    /// Few kinds of work and rounds, in about three minutes; the peer may be missing.
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every subject [default: 5, quick: 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement [default: 3, quick: 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Only work whose name begins with this, as `bulk` or `http 64`.
    #[arg(long, default_value = "")]
    only: String,
    /// Only work at places whose names begin with this, as `two nodes` or `5 ms`.
    #[arg(long, default_value = "")]
    place: String,
    /// Sample where the machine's time goes during each piece of work, into files of this directory; what such a run
    /// measures is of no other use.
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// Fail when a target is missed.
    #[arg(long)]
    check: bool,
    /// File for the raw figures of every round.
    #[arg(long, default_value = "target/perf/run.json")]
    output: PathBuf,
    /// File for the targets and whether they are held.
    #[arg(long, default_value = "target/perf/targets.json")]
    targets: PathBuf,
}

/// Requests a second of a closed loop are counted for so long to find the open loop's rate.
const CALIBRATION: f64 = 2.0;
/// How much of each program's log tells why something could not be measured.
const LOG_LINES: usize = 60;
/// What the names of work with an L7 hop begin with.
const HOP: &str = "hop";

/// Measures, prints the tables and writes the files.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stock = peer(args)?;
    let envoy = envoy(args);
    culvert_lab::enter()?;
    let lab = Lab::new()?;
    let outcome = measure(args, &lab, stock.as_deref(), envoy.as_deref())
        .inspect_err(|_| lab.print_logs(LOG_LINES))?;
    outcome.write(&args.output)?;
    println!("{}", table::rows(&outcome));
    let verdicts = targets::judge(
        &outcome,
        !args.quick && args.only.is_empty() && args.place.is_empty(),
    );
    results::write(&args.targets, &serde_json::to_string_pretty(&verdicts)?)?;
    println!("{}", table::verdicts(&verdicts));
    if stock.is_none() {
        println!("no comparison with a stock ztunnel in this run: ZTUNNEL=PATH names one");
    }
    if disturbed(&outcome) {
        println!("the machine was busy with something else: do not trust these figures");
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.held()).count();
    println!(
        "{} of {} targets held",
        verdicts.len() - missed,
        verdicts.len()
    );
    Ok(if args.check && missed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether something else ran on the machine in half of the rounds or more.
fn disturbed(run: &Run) -> bool {
    let samples = run.samples.iter();
    let busy: Vec<f64> = samples
        .filter_map(|sample| sample.figures.get(names::BUSY).copied())
        .collect();
    stats::median(&busy) > TOO_BUSY
}

/// The peer's program. It may only be missing where nothing is promised of it.
fn peer(args: &Args) -> Result<Option<PathBuf>> {
    match &args.ztunnel {
        // The private world keeps the working directory, but programs there are started from another one.
        Some(path) => fs::canonicalize(path)
            .map(Some)
            .with_context(|| path.display().to_string()),
        None if args.quick || args.only.starts_with(HOP) => {
            eprintln!("no stock ztunnel is named (ZTUNNEL=PATH): measuring without the comparison");
            Ok(None)
        }
        None => bail!(
            "the comparison is missing: name a stock ztunnel by ZTUNNEL=PATH (the short form, --quick, goes without, and --only hop)"
        ),
    }
}

/// Envoy's program, for the full form. Without it the rows beside it are not measured, which counts as missed.
fn envoy(args: &Args) -> Option<PathBuf> {
    if args.quick || !wanted(args, HOP) {
        return None;
    }
    hop::fetch(Path::new("target/perf/envoy"))
        .inspect_err(|error| eprintln!("no comparison with Envoy in this run: {error:#}"))
        .ok()
}

fn wanted(args: &Args, name: &str) -> bool {
    name.starts_with(&args.only)
}

fn measure(args: &Args, lab: &Lab, stock: Option<&Path>, envoy: Option<&Path>) -> Result<Run> {
    let mut stage = Stage::create(lab, if args.quick { 0 } else { plan::CROWD })?;
    if !args.quick {
        stage
            .lay_wire(lab)
            .unwrap_or_else(|error| eprintln!("longer ways are not measured: {error:#}"));
    }
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 5 });
    let seconds = args.seconds.unwrap_or(if args.quick { 1.0 } else { 3.0 });
    let peer = stock.map(|path| Subject::Stock(path.to_owned()));
    let (open_rate, open_rate_is) = calibrate(lab, &stage, peer.as_ref())?;
    let mut subjects = vec![Subject::Direct, Subject::Culvert];
    if !args.quick {
        subjects.push(Subject::OneCore);
    }
    subjects.extend(peer);
    if !args.quick && wireguard::available(lab)? {
        subjects.push(Subject::WireGuard);
    }
    let profile = args.profile.as_deref();
    let mut run = Run {
        machine: machine::describe()?,
        programs: machine::programs(stock, envoy)?,
        quick: args.quick,
        rounds,
        open_rate,
        open_rate_is,
        samples: Vec::new(),
    };
    let items: Vec<Item> = plan::items(args.quick, open_rate, lab.dir())
        .into_iter()
        .filter(|item| stage.has(item.place) && item.work.name().starts_with(&args.only))
        .filter(|item| item.place.to_string().starts_with(&args.place))
        .collect();
    for round in 1..=rounds {
        for subject in &subjects {
            let wanted: Vec<_> = items
                .iter()
                .filter(|item| item.is_for(subject, round))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let begin = Instant::now();
            eprintln!("round {round} of {rounds}: {}", subject.name());
            let samples = perform((lab, &stage), subject, &wanted, (round, seconds), profile)
                .with_context(|| format!("round {round}, {}", subject.name()))?;
            run.samples.extend(samples);
            eprintln!("  {:.0} s", begin.elapsed().as_secs_f64());
        }
        // An hour's figures are not lost with its last minute.
        run.write(&args.output)?;
        subjects.rotate_left(1);
    }
    if let Some(envoy) = envoy {
        match hop::run(lab, &stage, envoy, (rounds, seconds)) {
            Ok(found) => {
                run.samples.extend(found);
                run.write(&args.output)?;
            }
            Err(error) => {
                lab.print_logs(LOG_LINES);
                eprintln!("L7 hops are not measured: {error:#}");
            }
        }
    }
    if !args.quick {
        let only = |name: &str| wanted(args, name);
        let found = catalogue::run(lab, &stage, stock, (rounds, &mut run.samples), only);
        if let Err(error) = found {
            lab.print_logs(LOG_LINES);
            eprintln!("meshes of many workloads, from here on: not measured: {error:#}");
        }
    }
    Ok(run)
}

/// All of a subject's items of a round. The subject starts anew for each way between the nodes: what its connections found
/// out about another one is no help.
fn perform(
    scene: (&Lab, &Stage),
    subject: &Subject,
    items: &[&Item],
    (round, seconds): (usize, f64),
    profile: Option<&Path>,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let (lab, stage) = scene;
    for items in items.chunk_by(|one, next| one.place.way() == next.place.way()) {
        let place = items.first().map_or(Place::TwoNodes, |item| item.place);
        stage.travel(lab, place)?;
        let running = Running::start(subject, lab, stage)?;
        for item in items {
            let setting = Setting {
                stage,
                place: item.place,
                proxies: running.proxies(),
                seconds: seconds * item.longer,
            };
            // What fails is not measured, and an hour of other figures is kept.
            match once(item, &setting, subject, round, profile) {
                Ok(sample) => samples.push(sample),
                Err(error) => eprintln!("  {:<9} NOT MEASURED: {error:#}", item.place),
            }
        }
        running.stop(stage)?;
    }
    stage.travel(lab, Place::TwoNodes)?;
    Ok(samples)
}

fn once(
    item: &Item,
    setting: &Setting<'_>,
    subject: &Subject,
    round: usize,
    profile: Option<&Path>,
) -> Result<Sample> {
    let work = item.work.name();
    let run = || item.work.run(setting).with_context(|| work.clone());
    let found = match profile {
        Some(dir) => {
            let name = format!("{} {} {work} {round}", subject.name(), item.place);
            profile::during(dir, &name, run)?
        }
        None => run()?,
    };
    eprintln!(
        "  {:<9} {work:<22} {}",
        item.place,
        figures::line(&found.figures)
    );
    Ok(Sample {
        round,
        place: item.place,
        work,
        subject: subject.name().to_owned(),
        figures: found.figures,
        latency: found.latency,
    })
}

/// Half of what the peer (or, without one, Culvert) does in a closed loop over 64 connections.
fn calibrate(lab: &Lab, stage: &Stage, peer: Option<&Subject>) -> Result<(f64, String)> {
    let subject = peer.unwrap_or(&Subject::Culvert);
    let running = Running::start(subject, lab, stage)?;
    let setting = Setting {
        stage,
        place: Place::TwoNodes,
        proxies: running.proxies(),
        seconds: CALIBRATION,
    };
    let http = Http {
        connections: 64,
        body: Body::B64,
    };
    let found = http.run(&setting)?;
    running.stop(stage)?;
    let capacity = found
        .figures
        .get(figures::REQUESTS)
        .copied()
        .unwrap_or_default();
    let rate = (capacity / 200.0).floor() * 100.0;
    let what = format!(
        "half of the {capacity:.0} requests/s of {} in a closed loop over 64 connections",
        subject.name()
    );
    eprintln!("open loop: {rate} requests/s, {what}");
    Ok((rate, what))
}
