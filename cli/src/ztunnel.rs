//! `culvert ztunnel`: placeholder for the tables.

use crate::{
    admin::Endpoint,
    output::{self, Format},
};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::process::ExitCode;

/// Options of `culvert ztunnel`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to show.
    #[arg(value_enum)]
    subject: Subject,
    /// The ztunnel's admin endpoint: `unix:PATH` or `IP:PORT`.
    #[arg(
        long,
        value_name = "ENDPOINT",
        env = "CULVERT_ZTUNNEL_ADMIN",
        default_value = "127.0.0.1:15000"
    )]
    admin: Endpoint,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// Pods and what stands for pods
    Workloads,
    /// Services and their virtual addresses
    Services,
    /// Authorization policies
    Policies,
    /// Certificates of this node's workloads
    Certificates,
    /// Open connections
    Connections,
}

/// Prints one of ztunnel's lists.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let value = options.admin.get("/config_dump")?;
    output::print(options.output, &value, || Ok(String::new()))?;
    let _ = options.subject;
    Ok(ExitCode::SUCCESS)
}
