//! culvert-agent.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use culvert_agent::agent;
use culvert_agent::config::Cli;
use culvert_runtime::trace;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let _log = match trace::init(cli.log_format, "info") {
        Ok(log) => log,
        Err(error) => {
            eprintln!("culvert-agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match (cli.command, cli.config) {
        (Some(command), _) => agent::cleanup(command).await,
        (None, Some(config)) => agent::run(config).await,
        (None, None) => Cli::command()
            .error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "flags are missing",
            )
            .exit(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}
