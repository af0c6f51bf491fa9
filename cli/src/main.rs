//! `culvert`: what a person types. Tables for people, `-o json|yaml` for programs.
//!
//! Exit status: 0 all is well, 1 something is wrong in the mesh (or a check of the demo failed), 2 wrong usage, or what was
//! asked can't be reached.

mod admin;
mod check;
mod demo;
mod gateway;
mod install;
mod output;
mod reach;
mod status;
mod table;
mod time;
mod waypoint;
mod ztunnel;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "culvert", version, about = "A service mesh without sidecars")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The state of the mesh: nodes, pods, capture, certificates, waypoints, rejected objects
    Status(status::Options),
    /// What a node's ztunnel knows and does
    Ztunnel(ztunnel::Options),
    /// What would break when a namespace joins the mesh, or is broken in it
    Check(check::Options),
    /// Waypoints on Kubernetes: apply, list, status, delete
    Waypoint(waypoint::Options),
    /// Gateways for traffic from outside the mesh, on Kubernetes: list, status
    Gateway(gateway::Options),
    /// Put the mesh into a Kubernetes cluster; twice changes nothing
    Install(install::Install),
    /// Bring an installed mesh to this version: controller, agents, ztunnels
    Upgrade(install::Upgrade),
    /// Release every pod and node, then remove the mesh
    Uninstall(install::Uninstall),
    /// Two nodes, a mesh and nine checks on real traffic, on this machine
    Demo(demo::Options),
    /// Completions for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Status(options) => status::run(&options),
        Command::Ztunnel(options) => ztunnel::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Waypoint(options) => waypoint::run(&options),
        Command::Gateway(options) => gateway::run(&options),
        Command::Install(options) => install::install(&options),
        Command::Upgrade(options) => install::upgrade(&options),
        Command::Uninstall(options) => install::uninstall(&options),
        Command::Demo(options) => Ok(demo::run(&options)),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "culvert",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("culvert: {error:#}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
