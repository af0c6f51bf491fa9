//! `culvert-ztunnel`, the proxy of a node. Carries the TCP traffic of the node's pods over HBONE, checks layer 4
//! policy where it arrives, and answers DNS for names of the mesh. `docs/architecture.md` follows a byte through it.

use std::process::ExitCode;

use clap::Parser as _;

mod app;
mod asking;
mod certificates;
mod config;
mod control;
mod dns;
mod egress;
mod faults;
mod inpod;
mod node;
mod proxy;
mod sys;
mod telemetry;
#[cfg(test)]
mod testing;

fn main() -> ExitCode {
    let config = match config::Config::from_args(config::Args::parse()) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                eprintln!("culvert-ztunnel: {error}");
            }
            return ExitCode::from(2);
        }
    };
    match app::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("culvert-ztunnel: {error:#}");
            ExitCode::FAILURE
        }
    }
}
