//! `culvert status`: what the controller wrote about the mesh, as tables, and whether all of it is well.

mod model;
mod problems;
mod tables;

use crate::output::{self, Format};
use anyhow::{Context, Result};
use clap::Args;
use model::Status;
use serde_json::Value;
use std::{fs, path::PathBuf, process::ExitCode};

/// Options of `culvert status`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory that the controller was given.
    #[arg(long, value_name = "DIR", env = "CULVERT_CONFIG")]
    config: PathBuf,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints the status. Success if nothing is wrong.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let path = options.config.join(".status/status.json");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: has a controller been started on this directory?",
            path.display()
        )
    })?;
    let value: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let status: Status = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let problems = problems::of(&status);
    output::print(options.output, &value, || {
        Ok(tables::render(&status, &problems))
    })?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
