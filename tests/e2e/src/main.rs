//! `culvert-e2e`: Culvert on a real Kubernetes, from `helm install` to its removal.

mod cases;
mod suite;

use anyhow::{Result, ensure};
use clap::Parser;
use std::process::ExitCode;

/// Runs the end-to-end suite on the test cluster. As root.
#[derive(Debug, Parser)]
#[command(name = "culvert-e2e")]
struct Options {
    /// Print the names of the cases.
    #[arg(long)]
    list: bool,
    /// Run only the cases whose names contain this. May be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Leave the cluster, the mesh and what the cases made.
    #[arg(long)]
    keep: bool,
    /// Run the matrix on the bare cluster, and nothing else.
    #[arg(long)]
    without_mesh: bool,
    /// How kube-proxy works in a cluster that the suite starts: nftables or iptables.
    #[arg(long, default_value = "nftables")]
    proxy_mode: String,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let names = cases::names();
    if options.list {
        println!("{}", names.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    for only in &options.only {
        ensure!(
            names.iter().any(|name| name.contains(only.as_str())),
            "no case has {only:?} in its name; see --list"
        );
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the test cluster needs root"
    );
    let choice = suite::Choice {
        only: options.only,
        keep: options.keep,
        without_mesh: options.without_mesh,
        proxy_mode: options.proxy_mode,
    };
    Ok(if suite::run(&choice)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
