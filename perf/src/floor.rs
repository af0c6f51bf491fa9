//! The run: every subject in every round, each with all work.

use crate::{
    machine,
    pods::Pods,
    report,
    subject::{Running, Subject},
    work::{self, Sample, Setting},
};
use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use culvert_lab::Lab;
use std::{fs, path::PathBuf, process::ExitCode};

/// What to measure and where to write it.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The stock ztunnel to compare with.
    #[arg(long, env = "ZTUNNEL", value_name = "PATH")]
    ztunnel: Option<PathBuf>,
    /// Measure without a comparison.
    #[arg(long)]
    no_peer: bool,
    /// Rounds; each measures every subject.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement of throughput.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Idle connections for the figure of memory.
    #[arg(long, default_value_t = 4000)]
    idle: usize,
    /// Only work whose name begins with this, as `bulk` or `http 64`.
    #[arg(long, default_value = "")]
    only: String,
    /// File for the raw figures of every round.
    #[arg(long, default_value = "target/perf-floor.json")]
    output: PathBuf,
}

/// Measures, prints the table and writes the file. Fails when a floor is missed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let peer = peer(args)?;
    culvert_lab::enter()?;
    let lab = Lab::new()?;
    let pods = Pods::create(&lab)?;
    let mut subjects = vec![Subject::Direct, Subject::Culvert];
    subjects.extend(peer.map(Subject::Stock));
    let mut samples = Vec::new();
    for round in 1..=args.rounds {
        for subject in &subjects {
            eprintln!("round {round} of {}: {}", args.rounds, subject.name());
            measure(args, &lab, &pods, subject, round, &mut samples)
                .inspect_err(|_| lab.print_logs(100))
                .with_context(|| format!("round {round}, {}", subject.name()))?;
        }
        subjects.rotate_left(1);
    }
    let report = report::Report::new(machine::describe()?, samples);
    write(args, &report)?;
    println!("{report}");
    Ok(if report.floors_kept() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn peer(args: &Args) -> Result<Option<PathBuf>> {
    match &args.ztunnel {
        _ if args.no_peer => Ok(None),
        // The private world keeps the working directory, but programs there are started from another one.
        Some(path) => fs::canonicalize(path)
            .map(Some)
            .with_context(|| path.display().to_string()),
        None => bail!(
            "the comparison is missing: name a stock ztunnel by ZTUNNEL=PATH, or measure without it by --no-peer"
        ),
    }
}

fn measure(
    args: &Args,
    lab: &Lab,
    pods: &Pods,
    subject: &Subject,
    round: usize,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let running = Running::start(subject, lab, pods)?;
    let setting = Setting {
        pods,
        proxies: running.proxies(),
        seconds: args.seconds,
        idle: args.idle,
    };
    for work in work::all()
        .into_iter()
        .filter(|work| work.name().starts_with(&args.only))
    {
        let figures = work.run(&setting).with_context(|| work.name())?;
        eprintln!("  {:<12} {}", work.name(), report::line(&figures));
        samples.push(Sample {
            round,
            subject: subject.name(),
            work: work.name(),
            figures,
        });
    }
    running.stop(pods)
}

fn write(args: &Args, report: &report::Report) -> Result<()> {
    if let Some(dir) = args.output.parent() {
        fs::create_dir_all(dir)?;
    }
    let text = serde_json::to_string_pretty(report)?;
    fs::write(&args.output, text + "\n").with_context(|| args.output.display().to_string())
}
