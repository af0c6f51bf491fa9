//! The controller's program.

use anyhow::Context as _;
use clap::Parser as _;
use culvert_controller::app::{self, App};
use culvert_controller::config::{Cli, Command, Dirs, Kubernetes, Serve};
use culvert_controller::crd;
use culvert_runtime::{drain, signal, trace};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Crds { dir }) = &cli.command {
        return crds(dir.as_deref());
    }
    if cli.kubernetes && cli.command.is_none() {
        return serve_kubernetes(&cli.serve, &cli.cluster);
    }
    let dirs = cli.dirs().unwrap_or_else(|error| error.exit());
    match cli.command {
        Some(Command::Token(token)) => {
            println!("{}", app::token(&token, &dirs)?);
            Ok(())
        }
        Some(Command::Crds { .. }) | None => serve(&cli.serve, &dirs),
    }
}

/// Print or write the definitions of our kinds.
fn crds(dir: Option<&std::path::Path>) -> anyhow::Result<()> {
    let definitions = crd::files()?;
    let Some(dir) = dir else {
        let texts: Vec<_> = definitions.iter().map(|(_, text)| text.as_str()).collect();
        print!("{}", texts.join("---\n"));
        return Ok(());
    };
    for (name, text) in &definitions {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Logs set up, and all of them written at the end.
fn run(config: &Serve, serving: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let _log = trace::init(config.log_format, "info")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serving)
}

fn serve_kubernetes(config: &Serve, cluster: &Kubernetes) -> anyhow::Result<()> {
    run(config, async {
        let (trigger, drain) = drain::channel();
        let ending = tokio::spawn(async move {
            signal::shutdown().await;
            trigger.start();
        });
        if let Some(app) = App::start_on_kubernetes(config, cluster, &drain).await? {
            ending.await?;
            app.finished().await;
        }
        Ok(())
    })
}

fn serve(config: &Serve, dirs: &Dirs) -> anyhow::Result<()> {
    run(config, async {
        let (trigger, drain) = drain::channel();
        let app = App::start(config, dirs, &drain)?;
        signal::shutdown().await;
        trigger.start();
        app.finished().await;
        Ok(())
    })
}
