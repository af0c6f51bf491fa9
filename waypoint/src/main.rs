//! `culvert-waypoint`, the layer 7 proxy of a namespace. `docs/waypoint.md` says what it does.

use std::process::ExitCode;

use clap::Parser as _;
use culvert_waypoint::{app, args::Args};

mod sys;

fn main() -> ExitCode {
    match app::run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("culvert-waypoint: {error:#}");
            ExitCode::FAILURE
        }
    }
}
