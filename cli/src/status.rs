//! `culvert status`: what the controller says about the mesh, as tables, and whether all of it is well. On Kubernetes the
//! controllers are asked, without it their file is read.

mod model;
mod problems;
mod replicas;
mod tables;

use crate::output::{self, Format};
use crate::reach;
use anyhow::{Context, Result};
use clap::Args;
use model::Status;
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Options of `culvert status`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory that the controller was given, where there is no Kubernetes.
    #[arg(long, value_name = "DIR", env = "CULVERT_CONFIG")]
    config: Option<PathBuf>,
    /// The cluster's credentials; otherwise $KUBECONFIG, ~/.kube/config or the pod's own.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    kubeconfig: Option<PathBuf>,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints the status. Success if nothing is wrong.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let value = match &options.config {
        Some(dir) => read(dir)?,
        None => reach::run(async {
            let client = reach::connect(options.kubeconfig.as_ref()).await?;
            replicas::ask(&client).await
        })?,
    };
    let status = Status::deserialize(&value).context("what the controller says")?;
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

fn read(dir: &Path) -> Result<Value> {
    let path = dir.join(".status/status.json");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: has a controller been started on this directory?",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
