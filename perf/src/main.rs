//! culvert-perf: how fast and how lean the mesh is, measured beside the same work without a mesh and under its peers, in
//! one run on one machine.
//!
//! Invariant: figures of different subjects are only compared when they come from interleaved rounds of one run.

mod compare;
mod cpu;
mod figures;
mod latency;
mod load;
mod machine;
mod memory;
mod profile;
mod report;
mod results;
mod run;
mod scale;
mod stage;
mod stats;
mod stock;
mod subject;
mod summary;
mod table;
mod targets;
mod watcher;
mod wire;
mod wireguard;
mod work;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// As the mesh's own programs have it, so that memory is comparable.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Debug, Parser)]
#[command(
    name = "culvert-perf",
    version,
    about = "Measures the mesh beside direct traffic and its peers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on two nodes, beside direct traffic and a stock ztunnel, judged by the targets.
    Run(run::Args),
    /// What got worse between two runs, beyond noise.
    Compare(compare::Args),
    /// The report of a run, as text with plots.
    Report(report::Args),
    /// A large mesh under churn: real API server and controller, simulated pods and nodes.
    Scale(scale::Args),
    /// Follow a controller and say what the state weighs. Used by `scale`.
    #[command(hide = true)]
    Watch(scale::watch::Args),
    /// Make load from inside a pod. Used by `run`.
    #[command(hide = true)]
    Load(load::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Watch(args) => scale::watch::run(&args),
        Command::Load(args) => load::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("culvert-perf: {error:#}");
        ExitCode::FAILURE
    })
}
