//! `culvert install`, `upgrade` and `uninstall`: the mesh's own objects in a cluster.
//!
//! Exit status 1: what was begun did not come to its end in time; doing it again goes on where it stood.

mod cluster;
mod leave;
mod manifest;
mod rollout;
pub(crate) mod skew;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cluster::{Cluster, NAMESPACE, Outcome, title};
use culvert_runtime::yaml;
use kube::api::ListParams;
use manifest::{Choices, Objects, VERSION};
use rollout::{Deadline, GaveUp};
use serde_json::Value;
use skew::Version;

/// Which cluster, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The cluster [default: $KUBECONFIG, ~/.kube/config, or that of the pod].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Seconds to wait for what takes time.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

/// What may differ from the defaults.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Where the images are: REGISTRY/culvert-agent and so on.
    #[arg(long)]
    registry: Option<String>,
    /// The images' tag [default: this program's version].
    #[arg(long)]
    tag: Option<String>,
    /// First part of every identity [default: cluster.local]. Later, edit the MeshConfig `default`.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
    /// A range of the cluster's pods or services, in which unknown addresses are refused. May be repeated.
    #[arg(long = "cluster-cidr", value_name = "CIDR")]
    cluster_cidrs: Vec<String>,
}

/// Options of `culvert install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    settings: Settings,
    /// Print the objects instead.
    #[arg(long)]
    dry_run: bool,
    /// Whether to wait until all of it is ready.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
}

/// Options of `culvert upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    settings: Settings,
    /// Only check versions and upgrade the definitions of kinds, for Helm, which does the rest.
    #[arg(long)]
    prepare: bool,
}

/// Options of `culvert uninstall`.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    common: Common,
    /// Also remove the authority's key, the definitions with all policies, and the namespace.
    #[arg(long)]
    purge: bool,
    /// Go on although a node was not released.
    #[arg(long)]
    force: bool,
    /// Only release the nodes, for Helm, which does the rest.
    #[arg(long, conflicts_with = "purge")]
    prepare: bool,
    /// Only remove what the controller made, for Helm, after the rest.
    #[arg(long, conflicts_with_all = ["purge", "prepare"])]
    sweep: bool,
}

impl Settings {
    fn choices(&self) -> Choices {
        Choices {
            registry: self.registry.clone(),
            tag: self.tag.clone(),
            trust_domain: self.trust_domain.clone(),
            cluster_cidrs: self.cluster_cidrs.clone(),
        }
    }
}

/// Run one of the three on a thread of its own.
fn block_on(future: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(future) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is::<GaveUp>() => {
            eprintln!("culvert: {error:#}");
            Ok(ExitCode::from(1))
        }
        Err(error) => Err(error),
    }
}

/// `culvert install`
pub(crate) fn install(options: &Install) -> Result<ExitCode> {
    let choices = options.settings.choices();
    let objects = manifest::objects(&choices)?;
    if options.dry_run {
        let config = manifest::mesh_config(&choices);
        let classes = manifest::gateway_classes();
        let extra = std::iter::once(&config).chain(&classes);
        for object in objects.all().into_iter().chain(extra) {
            print!("---\n{}", yaml::of(object));
        }
        return Ok(ExitCode::SUCCESS);
    }
    block_on(async {
        let cluster = Cluster::connect(options.common.kubeconfig.as_deref()).await?;
        not_helms(&cluster, &objects).await?;
        let target: Version = VERSION.parse().map_err(|error: String| anyhow!(error))?;
        if let Some(installed) = controller(&cluster, &objects)
            .await?
            .filter(|it| *it != target)
        {
            bail!("Culvert {installed} is installed, and this is {target}: say `culvert upgrade`");
        }
        leave::withdraw(&cluster).await?;
        let deadline = Deadline::within(options.common.timeout);
        let mut tally = Tally::default();
        definitions(&cluster, &objects, deadline, &mut tally).await?;
        settings(&cluster, &objects, &choices, &mut tally).await?;
        let workloads = [&objects.controller, &objects.agent, &objects.ztunnel];
        for workload in workloads {
            tally.apply(&cluster, workload).await?;
        }
        if options.wait {
            rollout::ready(&cluster, &workloads, deadline).await?;
        }
        println!("Culvert {VERSION} is installed: {tally}");
        Ok(())
    })
}

/// `culvert upgrade`
pub(crate) fn upgrade(options: &Upgrade) -> Result<ExitCode> {
    let choices = options.settings.choices();
    let objects = manifest::objects(&choices)?;
    block_on(async {
        let cluster = Cluster::connect(options.common.kubeconfig.as_deref()).await?;
        let target: Version = VERSION.parse().map_err(|error: String| anyhow!(error))?;
        let installed = controller(&cluster, &objects).await?;
        skew::check(target, installed, &data_plane(&cluster).await?)?;
        let deadline = Deadline::within(options.common.timeout);
        let mut tally = Tally::default();
        definitions(&cluster, &objects, deadline, &mut tally).await?;
        if options.prepare {
            println!("the definitions are those of {VERSION}: {tally}");
            return Ok(());
        }
        not_helms(&cluster, &objects).await?;
        let Some(installed) = installed else {
            bail!("Culvert is not installed: say `culvert install`");
        };
        leave::withdraw(&cluster).await?;
        settings(&cluster, &objects, &choices, &mut tally).await?;
        for workload in [&objects.controller, &objects.agent, &objects.ztunnel] {
            tally.apply(&cluster, workload).await?;
            rollout::ready(&cluster, &[workload], deadline).await?;
        }
        println!("upgraded from {installed} to {VERSION}: {tally}");
        Ok(())
    })
}

/// `culvert uninstall`
pub(crate) fn uninstall(options: &Uninstall) -> Result<ExitCode> {
    let objects = manifest::objects(&Choices::default())?;
    block_on(async {
        let cluster = Cluster::connect(options.common.kubeconfig.as_deref()).await?;
        let deadline = Deadline::within(options.common.timeout);
        if options.sweep {
            println!("{} objects deleted", leave::sweep(&cluster).await?);
            return Ok(());
        }
        if !options.prepare {
            not_helms(&cluster, &objects).await?;
        }
        leave::prepare(&cluster, deadline, options.force).await?;
        if options.prepare {
            return Ok(());
        }
        let mut count = leave::objects(&cluster, &objects, deadline).await?;
        count += leave::sweep(&cluster).await?;
        if options.purge {
            count += leave::purge(&cluster, &objects, deadline).await?;
            println!("Culvert is uninstalled: {count} objects deleted");
        } else {
            println!(
                "Culvert is uninstalled: {count} objects deleted. Kept: the Secret culvert-ca, {} definitions with their \
                 objects, the namespace {NAMESPACE}; --purge removes these too",
                objects.crds.len()
            );
        }
        Ok(())
    })
}

/// The kinds, before objects of these kinds.
async fn definitions(
    cluster: &Cluster,
    objects: &Objects,
    deadline: Deadline,
    tally: &mut Tally,
) -> Result<()> {
    for crd in &objects.crds {
        tally.apply(cluster, crd).await?;
    }
    let crds: Vec<&Value> = objects.crds.iter().collect();
    rollout::ready(cluster, &crds, deadline).await
}

/// All but definitions and workloads.
async fn settings(
    cluster: &Cluster,
    objects: &Objects,
    choices: &Choices,
    tally: &mut Tally,
) -> Result<()> {
    for object in &objects.settings {
        tally.apply(cluster, object).await?;
    }
    // The mesh's settings are the user's from the first moment on: not said again is not taken back.
    let config = manifest::mesh_config(choices);
    let chosen = choices.trust_domain.is_some() || !choices.cluster_cidrs.is_empty();
    if chosen || cluster.get(&config).await?.is_none() {
        tally.apply(cluster, &config).await?;
    }
    if cluster
        .knows("gateway.networking.k8s.io/v1", "GatewayClass")
        .await?
    {
        for class in manifest::gateway_classes() {
            tally.apply(cluster, &class).await?;
        }
    } else {
        println!(
            "the Gateway API is not installed: no waypoints or gateways until it is, and `culvert install` was run again"
        );
    }
    Ok(())
}

/// The controller's version; `None` if it is not installed.
async fn controller(cluster: &Cluster, objects: &Objects) -> Result<Option<Version>> {
    let found = cluster.get(&objects.controller).await?;
    found.as_ref().map(version).transpose()
}

/// Agents and ztunnels with their versions.
async fn data_plane(cluster: &Cluster) -> Result<Vec<(String, Version)>> {
    let parts = "app.kubernetes.io/name in (culvert-agent, culvert-ztunnel)";
    let pods = cluster
        .list(
            "v1",
            "Pod",
            Some(NAMESPACE),
            ListParams::default().labels(parts),
        )
        .await?;
    pods.iter()
        .map(|pod| Ok((title(pod), version(pod)?)))
        .collect()
}

fn version(object: &Value) -> Result<Version> {
    let label = &object["metadata"]["labels"]["app.kubernetes.io/version"];
    let parsed = label.as_str().unwrap_or_default().parse();
    parsed.map_err(|error: String| {
        anyhow!(
            "{}: label app.kubernetes.io/version: {error}",
            title(object)
        )
    })
}

/// Helm keeps accounts of its own, which we would make wrong.
async fn not_helms(cluster: &Cluster, objects: &Objects) -> Result<()> {
    let found = cluster.get(&objects.controller).await?.unwrap_or_default();
    let release = found["metadata"]["annotations"]["meta.helm.sh/release-name"].as_str();
    release.map_or(Ok(()), |release| {
        Err(anyhow!(
            "Culvert was installed by Helm as release {release}: use helm upgrade, helm uninstall"
        ))
    })
}

/// What became of the objects.
#[derive(Debug, Default)]
struct Tally {
    created: usize,
    configured: usize,
    unchanged: usize,
}

impl Tally {
    async fn apply(&mut self, cluster: &Cluster, object: &Value) -> Result<()> {
        match cluster.apply(object).await? {
            Outcome::Created => {
                println!("{} created", title(object));
                self.created += 1;
            }
            Outcome::Configured => {
                println!("{} configured", title(object));
                self.configured += 1;
            }
            Outcome::Unchanged => self.unchanged += 1,
        }
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            created,
            configured,
            unchanged,
        } = self;
        write!(
            f,
            "{created} created, {configured} configured, {unchanged} unchanged"
        )
    }
}
