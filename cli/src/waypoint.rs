//! `culvert waypoint`: the Gateways that make Culvert deploy waypoints, and how those are.
//!
//! Exit status 1: the waypoint is not ready, or something still asks for the one that is to be deleted.

mod api;
mod object;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
pub(crate) use api::Cluster;
use clap::{Args, Subcommand, ValueEnum};
use object::Choices;
pub(crate) use object::Seen;
use serde_json::Value;
pub(crate) use tables::{conditions, place};

use crate::output::{self, Format};

/// The name of a waypoint that nobody named.
const NAME: &str = "waypoint";

/// Options of `culvert waypoint`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// The cluster [default: $KUBECONFIG, ~/.kube/config, or that of the pod].
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The waypoint's namespace [default: that of the kubeconfig's context].
    #[arg(short, long, global = true)]
    namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a waypoint, or change it
    Apply(Apply),
    /// All waypoints of a namespace, or of all
    List(List),
    /// Conditions of a waypoint, and who uses it
    Status(Status),
    /// Remove waypoints
    Delete(Delete),
}

#[derive(Debug, Args)]
struct Apply {
    /// Its name.
    #[arg(long, default_value = NAME)]
    name: String,
    /// Which traffic goes through it.
    #[arg(long = "for", value_enum, default_value_t)]
    purpose: Purpose,
    /// How many instances; left out: one, or as whoever scales it says.
    #[arg(long)]
    replicas: Option<u16>,
    /// Label the namespace, so that all of it uses this waypoint.
    #[arg(long)]
    enroll_namespace: bool,
    /// Wait until it is ready for traffic.
    #[arg(long)]
    wait: bool,
    /// Seconds to wait.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Print the Gateway instead.
    #[arg(long)]
    dry_run: bool,
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
    #[arg(default_value = NAME)]
    name: String,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct Delete {
    /// Their names.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// Those of the namespace.
    #[arg(long)]
    all: bool,
    /// Take the namespace's label away first, if it names the waypoint: traffic goes direct then.
    #[arg(long)]
    unenroll_namespace: bool,
    /// Even if something asks for it, whose traffic is refused then.
    #[arg(long)]
    force: bool,
}

/// Which traffic goes through a waypoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Traffic to services
    #[default]
    Service,
    /// Traffic to pods' own addresses
    Workload,
    /// Both
    All,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::All => "all",
        }
    }
}

/// `culvert waypoint`
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cluster =
            Cluster::connect(options.kubeconfig.as_deref(), options.namespace.as_deref()).await?;
        match &options.command {
            Command::Apply(apply) => self::apply(&cluster, apply).await,
            Command::List(list) => self::list(&cluster, list).await,
            Command::Status(status) => self::status(&cluster, status).await,
            Command::Delete(delete) => self::delete(&cluster, delete).await,
        }
    })
}

async fn apply(cluster: &Cluster, options: &Apply) -> Result<ExitCode> {
    let namespace = cluster.namespace();
    let gateway = object::gateway(&Choices {
        namespace: namespace.to_owned(),
        name: options.name.clone(),
        purpose: options.purpose.as_str(),
        replicas: options.replicas,
    });
    if options.dry_run {
        print!("{}", culvert_runtime::yaml::of(&gateway));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(other) = cluster.gateway(&options.name).await?
        && !Seen::of(&other).is_waypoint()
    {
        bail!(
            "Gateway {namespace}/{} is of class {:?}: choose another --name",
            options.name,
            Seen::of(&other).class()
        );
    }
    cluster.apply(&options.name, &gateway).await?;
    println!("waypoint {namespace}/{} applied", options.name);
    if options.enroll_namespace {
        cluster.label_namespace(Some(&options.name)).await?;
        println!(
            "namespace {namespace} labelled {}={}",
            object::USE_WAYPOINT,
            options.name
        );
    }
    if !options.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(options.timeout);
    loop {
        let gateway = cluster.gateway(&options.name).await?;
        let gateway = gateway.context("the Gateway was deleted meanwhile")?;
        let seen = Seen::of(&gateway);
        if seen.is_ready() {
            println!("waypoint {namespace}/{} is programmed", options.name);
            return Ok(ExitCode::SUCCESS);
        }
        if tokio::time::Instant::now() >= deadline {
            eprintln!(
                "culvert: not programmed after {} s: {}",
                options.timeout,
                seen.why()
            );
            return Ok(ExitCode::from(1));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn list(cluster: &Cluster, options: &List) -> Result<ExitCode> {
    let gateways = cluster.waypoints(options.all_namespaces).await?;
    let list = Value::from_iter(gateways.iter().map(|gateway| Seen::of(gateway).summary()));
    output::print(options.output, &list, || {
        if gateways.is_empty() {
            return Ok("no waypoint\n".to_owned());
        }
        Ok(tables::list(&gateways).to_string())
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn status(cluster: &Cluster, options: &Status) -> Result<ExitCode> {
    let gateway = cluster.gateway(&options.name).await?;
    let gateway = gateway.filter(|gateway| Seen::of(gateway).is_waypoint());
    let Some(gateway) = gateway else {
        bail!(
            "there is no waypoint {}/{}",
            cluster.namespace(),
            options.name
        );
    };
    let seen = Seen::of(&gateway);
    let users = cluster.users(&options.name).await?;
    let mut value = seen.summary();
    value["conditions"] = seen.conditions();
    value["users"] = users.iter().map(ToString::to_string).collect();
    output::print(options.output, &value, || {
        Ok(tables::status(&gateway, &users))
    })?;
    Ok(if seen.is_ready() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

async fn delete(cluster: &Cluster, options: &Delete) -> Result<ExitCode> {
    let namespace = cluster.namespace();
    let names = if options.all {
        let gateways = cluster.waypoints(false).await?;
        let names = gateways
            .iter()
            .map(|gateway| Seen::of(gateway).name().to_owned());
        names.collect()
    } else {
        options.names.clone()
    };
    let mut outcome = ExitCode::SUCCESS;
    for name in &names {
        let gateway = cluster.gateway(name).await?;
        if !gateway.is_some_and(|gateway| Seen::of(&gateway).is_waypoint()) {
            bail!("there is no waypoint {namespace}/{name}");
        }
        if options.unenroll_namespace && cluster.namespace_uses(name).await? {
            cluster.label_namespace(None).await?;
            println!(
                "namespace {namespace}: label {} removed",
                object::USE_WAYPOINT
            );
        }
        let users = cluster.users(name).await?;
        if !users.is_empty() && !options.force {
            let users: Vec<_> = users.iter().map(ToString::to_string).collect();
            eprintln!(
                "culvert: waypoint {namespace}/{name} is asked for by {}: their traffic would be refused. Take the \
                 label {} away first (--unenroll-namespace), or say --force",
                users.join(", "),
                object::USE_WAYPOINT
            );
            outcome = ExitCode::from(1);
            continue;
        }
        cluster.delete(name).await?;
        println!("waypoint {namespace}/{name} deleted");
    }
    Ok(outcome)
}
