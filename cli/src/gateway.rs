//! `culvert gateway`: the Gateways by which traffic from outside comes into the mesh, and how those are.
//!
//! Exit status 1: the gateway is not ready.

mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::output::{self, Format};
use crate::waypoint::{Cluster, Seen};

/// The controller that classes of ours name.
const CONTROLLER: &str = "culvert.dev/controller";

/// Options of `culvert gateway`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// The cluster [default: $KUBECONFIG, ~/.kube/config, or that of the pod].
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The gateway's namespace [default: that of the kubeconfig's context].
    #[arg(short, long, global = true)]
    namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All gateways of a namespace, or of all
    List(List),
    /// Conditions of a gateway, of its listeners, and of those of its ListenerSets
    Status(Status),
}

#[derive(Debug, Args)]
struct List {
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct Status {
    /// Its name.
    name: String,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `culvert gateway`
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cluster =
            Cluster::connect(options.kubeconfig.as_deref(), options.namespace.as_deref()).await?;
        match &options.command {
            Command::List(list) => self::list(&cluster, list).await,
            Command::Status(status) => self::status(&cluster, status).await,
        }
    })
}

async fn list(cluster: &Cluster, options: &List) -> Result<ExitCode> {
    let classes = cluster.classes(CONTROLLER).await?;
    let gateways = cluster.of_classes(&classes, options.all_namespaces).await?;
    let list = Value::from_iter(gateways.iter().map(tables::summary));
    output::print(options.output, &list, || {
        if gateways.is_empty() {
            return Ok("no gateway\n".to_owned());
        }
        Ok(tables::list(&gateways).to_string())
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn status(cluster: &Cluster, options: &Status) -> Result<ExitCode> {
    let (namespace, name) = (cluster.namespace(), &options.name);
    let Some(gateway) = cluster.gateway(name).await? else {
        bail!("there is no gateway {namespace}/{name}");
    };
    let seen = Seen::of(&gateway);
    let classes = cluster.classes(CONTROLLER).await?;
    if !classes.iter().any(|class| class == seen.class()) {
        bail!(
            "Gateway {namespace}/{name} is of class {:?}, which is not one of Culvert's: {}",
            seen.class(),
            classes.join(", ")
        );
    }
    let sets = cluster.listener_sets(name).await?;
    let mut value = tables::summary(&gateway);
    value["conditions"] = seen.conditions();
    value["listeners"] = gateway["status"]["listeners"].clone();
    value["listenerSets"] = Value::from_iter(sets.iter().map(tables::set));
    output::print(options.output, &value, || {
        Ok(tables::status(&gateway, &sets))
    })?;
    Ok(if seen.is_ready() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
