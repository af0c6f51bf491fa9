//! The run: every subject in every round, each with all work, then the meshes of many workloads.

mod catalogue;
mod hop;
mod objects;
mod plan;

use crate::{
    figures, machine,
    results::{self, Run, Sample},
    stage::{Body, Place, Stage},
    stats,
    subject::{Running, Subject},
    table, targets,
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
    /// Seconds of each measurement [default: 4, quick: 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Only work whose name begins with this, as `bulk` or `http 64`.
    #[arg(long, default_value = "")]
    only: String,
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
/// What the names of work with an L7 hop begin with.
const HOP: &str = "hop";

/// Measures, prints the tables and writes the files.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stock = peer(args)?;
    let envoy = envoy(args);
    culvert_lab::enter()?;
    let lab = Lab::new()?;
    let outcome = measure(args, &lab, stock.as_deref(), envoy.as_deref())
        .inspect_err(|_| lab.print_logs(60))?;
    outcome.write(&args.output)?;
    println!("{}", table::rows(&outcome));
    let verdicts = targets::judge(&outcome, !args.quick && args.only.is_empty());
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
        None if args.quick => {
            eprintln!("no stock ztunnel is named (ZTUNNEL=PATH): measuring without the comparison");
            Ok(None)
        }
        None => bail!(
            "the comparison is missing: name a stock ztunnel by ZTUNNEL=PATH (the short form, --quick, goes without)"
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
    let stage = Stage::create(lab, if args.quick { 0 } else { plan::CROWD })?;
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 5 });
    let seconds = args.seconds.unwrap_or(if args.quick { 1.0 } else { 4.0 });
    let peer = stock.map(|path| Subject::Stock(path.to_owned()));
    let (open_rate, open_rate_is) = calibrate(lab, &stage, peer.as_ref())?;
    let mut subjects = vec![Subject::Direct, Subject::Culvert];
    if !args.quick {
        subjects.push(Subject::OneCore);
    }
    subjects.extend(peer);
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
        .filter(|item| item.work.name().starts_with(&args.only))
        .collect();
    for round in 1..=rounds {
        for subject in &subjects {
            let wanted: Vec<_> = items
                .iter()
                .filter(|item| item.whom.has(subject, round))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let begin = Instant::now();
            eprintln!("round {round} of {rounds}: {}", subject.name());
            let samples = perform(lab, &stage, subject, &wanted, (round, seconds))
                .with_context(|| format!("round {round}, {}", subject.name()))?;
            run.samples.extend(samples);
            eprintln!("  {:.0} s", begin.elapsed().as_secs_f64());
        }
        subjects.rotate_left(1);
    }
    // What fails here is not measured, which counts as missed; an hour of figures is kept all the same.
    if let Some(envoy) = envoy {
        match hop::run(lab, &stage, envoy, (rounds, seconds)) {
            Ok(found) => run.samples.extend(found),
            Err(error) => eprintln!("L7 hops are not measured: {error:#}"),
        }
    }
    if !args.quick {
        let only = |name: &str| wanted(args, name);
        catalogue::run(lab, &stage, stock, (rounds, &mut run.samples), only).unwrap_or_else(
            |error| eprintln!("meshes of many workloads, from here on: not measured: {error:#}"),
        );
    }
    Ok(run)
}

fn perform(
    lab: &Lab,
    stage: &Stage,
    subject: &Subject,
    items: &[&Item],
    (round, seconds): (usize, f64),
) -> Result<Vec<Sample>> {
    let running = Running::start(subject, lab, stage)?;
    let mut samples = Vec::new();
    for item in items {
        let setting = Setting {
            stage,
            place: item.place,
            proxies: running.proxies(),
            seconds: seconds * item.longer,
        };
        let work = item.work.name();
        let found = item.work.run(&setting).with_context(|| work.clone())?;
        eprintln!(
            "  {:<9} {work:<22} {}",
            item.place,
            figures::line(&found.figures)
        );
        samples.push(Sample {
            round,
            place: item.place,
            work,
            subject: subject.name().to_owned(),
            figures: found.figures,
            latency: found.latency,
        });
    }
    running.stop(stage)?;
    Ok(samples)
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
