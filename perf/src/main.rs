//! culvert-perf: how fast and how lean the mesh is, measured beside the same work without a mesh and under a stock
//! ztunnel, in one run on one machine.
//!
//! Invariant: figures of different subjects are only compared when they come from interleaved rounds of one run.

mod cpu;
mod floor;
mod machine;
mod pods;
mod report;
mod scale;
mod stats;
mod stock;
mod subject;
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
    about = "Measures the mesh beside direct traffic and a stock ztunnel"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bulk, requests, new connections and memory of the layer 4 path, with the floors that they must keep.
    Floor(floor::Args),
    /// A large mesh under churn: real API server and controller, simulated pods and nodes.
    Scale(scale::Args),
    /// Follow a controller and say what the state weighs. Used by `scale`.
    #[command(hide = true)]
    Watch(scale::watch::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Floor(args) => floor::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Watch(args) => scale::watch::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("culvert-perf: {error:#}");
        ExitCode::FAILURE
    })
}
