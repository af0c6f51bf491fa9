//! `culvert demo`: a mesh of two nodes on this machine, nine checks of it on real traffic, a table.
//!
//! Invariant: every claim that is printed was measured in this run, and the exit status says whether all held.

mod bench;
mod capture;
mod checks;
mod client;
mod route;
mod servers;
mod stage;
mod statistics;

use crate::demo::{
    checks::{CHECKS, Check},
    stage::Stage,
};
use anyhow::{Context, Result};
use clap::Args;
use culvert_lab::{Lab, programs, world};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Break what one check (by number or name) is about, to see that check fail.
    #[arg(long, value_name = "CHECK", value_parser = parse_check)]
    sabotage: Option<u8>,
    /// Leave out the table of latency and throughput.
    #[arg(long)]
    quick: bool,
    /// List the checks and what sabotage does to each.
    #[arg(long)]
    list: bool,
    /// Copy logs, configuration and the packet capture to this directory at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn parse_check(text: &str) -> Result<u8, String> {
    let found = CHECKS
        .iter()
        .find(|check| check.name == text || check.number.to_string() == text);
    found
        .map(|check| check.number)
        .ok_or_else(|| "no such check; `culvert demo --list` names them".to_owned())
}

/// Runs the demo in a private world. Whatever keeps it from passing is exit status 1.
pub(crate) fn run(options: &Options) -> ExitCode {
    run_inside(options).unwrap_or_else(|error| {
        eprintln!("culvert: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_inside(options: &Options) -> Result<ExitCode> {
    if options.list {
        for Check {
            number,
            name,
            title,
            sabotage,
            ..
        } in &CHECKS
        {
            println!("{number} {name}: {title}\n  sabotage: {sabotage}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    programs::require(&[
        programs::IPTABLES,
        programs::CURL,
        programs::NGINX,
        programs::REDIS_SERVER,
        programs::REDIS_CLI,
        programs::TCPDUMP,
        programs::WRK,
    ])?;
    world::enter()?;
    let lab = Lab::new()?;
    let outcome = play(&lab, options);
    if let Some(dir) = &options.keep {
        keep(lab.dir(), dir)?;
    }
    outcome.inspect_err(|_| lab.print_logs(20))
}

fn play(lab: &Lab, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    println!(
        "Two nodes joined by a link, each with an agent and a ztunnel, on this machine's kernel:"
    );
    let mut stage = Stage::set(lab, options.sabotage).context("setting the stage")?;
    introduce(&stage);
    if let Some(number) = options.sabotage {
        let check = CHECKS
            .iter()
            .find(|check| check.number == number)
            .context("the check to break")?;
        println!("Sabotage of check {number}: {}.", check.sabotage);
    }
    println!(
        "Ready after {:.1} s. Capturing every packet of the link.\n",
        start.elapsed().as_secs_f64()
    );

    let mut passed = 0;
    for check in &CHECKS {
        passed += usize::from(show(check, &mut stage));
    }
    let packets = stage.capture.finish()?;
    println!("The capture saw {packets} packets and missed none.\n");
    if !options.quick {
        println!("{}", bench::run(&mut stage).context("measuring")?);
    }
    println!("demo: {passed} of {} checks passed", CHECKS.len());
    println!(
        "({:.0} s; everything it made is gone with it)",
        start.elapsed().as_secs_f64()
    );
    Ok(if passed == CHECKS.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn introduce(stage: &Stage<'_>) {
    let pods = &stage.pods;
    let line = |pod: &culvert_lab::Pod, what: &str| {
        println!(
            "  {}  {:<20} {:<12} {what}",
            pod.node,
            pod.key(),
            pod.ip().to_string()
        );
    };
    line(&pods.client, "curl, redis-cli");
    line(&pods.guest, "curl, redis-cli");
    line(&pods.outsider, "curl; never in the mesh");
    line(&pods.web_v1, "nginx that says v1");
    line(&pods.web_v2, "nginx that says v2");
    line(&pods.unreliable, "nginx that fails now and then");
    line(&pods.redis, "redis-server");
    line(&pods.waypoint, "the waypoint");
}

/// Runs a check and prints what came of it. Yields whether it passed.
fn show(check: &Check, stage: &mut Stage<'_>) -> bool {
    println!("[{}/{}] {}", check.number, CHECKS.len(), check.title);
    let start = Instant::now();
    let outcome = (check.run)(stage);
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(evidence) => {
            for line in evidence {
                println!("      {line}");
            }
            println!("      passed ({seconds:.1} s)\n");
            true
        }
        Err(error) => {
            println!("      FAILED ({seconds:.1} s): {error:#}\n");
            false
        }
    }
}

/// Copies what explains a run. Keys and tokens stay behind.
fn keep(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let secret = name == ".state" || name.to_string_lossy().ends_with(".token");
        let servers_file = name == "files";
        let target = to.join(&name);
        if secret || servers_file {
            continue;
        }
        if kind.is_dir() {
            keep(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
