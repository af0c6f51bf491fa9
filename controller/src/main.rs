//! The controller's program.

use anyhow::Context as _;
use clap::Parser as _;
use culvert_controller::app::{self, App};
use culvert_controller::config::{Cli, Command, Dirs, Serve};
use culvert_runtime::{drain, signal, trace};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let dirs = cli.dirs().unwrap_or_else(|error| error.exit());
    match cli.command {
        Some(Command::Token(token)) => {
            println!("{}", app::token(&token, &dirs)?);
            Ok(())
        }
        None => serve(&cli.serve, &dirs),
    }
}

fn serve(config: &Serve, dirs: &Dirs) -> anyhow::Result<()> {
    trace::init(config.log_format, "info")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let (trigger, drain) = drain::channel();
        let app = App::start(config, dirs, &drain)?;
        signal::shutdown().await;
        trigger.start();
        app.finished().await;
        Ok(())
    })
}
