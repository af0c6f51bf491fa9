//! The agent on Kubernetes: its pods come straight from the API, so that they join and leave while the controller is
//! down, and their network namespaces from the CNI plugin or, where they run already, from their processes.
//!
//! Invariant: an API that is away changes nothing: what is known goes on, and what is not known waits.

pub mod cache;
pub mod cgroup;
pub mod cni;
mod credentials;
pub mod facts;
pub mod node;
mod root;
pub mod scan;
pub mod strict;
mod uninstall;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_cni_wire::SOCKET;
use culvert_kube::{Access, ConnectError};
use culvert_runtime::drain::Drain;
use culvert_runtime::ready::Ready;
use culvert_runtime::task;
use kube::Client;
use tokio::sync::mpsc;

use crate::cni::install::Plugin;
use crate::config::Config;
use crate::source::PodEvent;
use crate::store::Store;
use crate::worker::Context;
use cni::Doorman;
use node::Node;

/// Between two looks for namespaces that are missing.
const LOOK: Duration = Duration::from_millis(500);
/// Every so many looks, all processes are looked at.
const FULL: u32 = 60;

/// Why there is no source of pods.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The API cannot be talked to with these credentials.
    #[error("Kubernetes API: {0}")]
    Connect(#[from] ConnectError),
    /// A socket.
    #[error("{path}: {source}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// What the source needs of the agent.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The flags.
    pub config: Config,
    /// The agent's own.
    pub context: Arc<Context>,
    /// Where to say what is missing.
    pub ready: Ready,
}

/// A client for the API, as the flags have it.
pub async fn connect(config: &Config) -> Result<Client, KubernetesError> {
    let access = match &config.kubeconfig {
        Some(path) => Access::Kubeconfig(path.clone()),
        None => Access::InCluster,
    };
    Ok(culvert_kube::connect(&access).await?)
}

/// Find the namespaces again that an earlier agent's records are about.
pub fn find_again(store: &Store, proc: &Path) {
    let records = store.records();
    if records.iter().all(|record| !record.pod.netns.is_unknown()) {
        return;
    }
    let found = match scan::namespaces(proc) {
        Ok(found) => found,
        Err(error) => {
            let proc = proc.display();
            tracing::error!(%proc, %error, "the pods' network namespaces cannot be found again");
            return;
        }
    };
    for record in records
        .iter()
        .filter(|record| record.pod.netns.is_unknown())
    {
        let mut namespaces = found.values().flatten();
        if let Some(netns) = namespaces.find(|netns| record.is_in(netns.id())) {
            store.place(&record.pod.uid, netns.clone().into());
        }
    }
}

/// Start everything that tells of pods; it ends with the drain. What comes back is what is known of them.
pub async fn start(
    parts: Parts,
    client: Client,
    events: mpsc::UnboundedSender<PodEvent>,
    drain: Drain,
) -> Result<Node, KubernetesError> {
    let node = Node::new(events.clone());
    let Parts {
        config,
        context,
        ready,
    } = parts;
    let (name, run_dir) = (config.node.clone(), config.run_dir.clone());

    let socket = run_dir.join(SOCKET);
    let listener = Doorman::bind(&socket).map_err(|source| KubernetesError::Socket {
        path: socket,
        source,
    })?;
    let doorman = Doorman::new(node.clone(), context.statuses.clone(), name.clone());
    task::spawn("doorman", doorman.serve(listener, drain.clone()));

    let own = config.namespace.clone();
    let until = |work| until(drain.clone(), work);
    task::spawn(
        "watch_pods",
        until(Box::pin(watch::pods(
            client.clone(),
            name.clone(),
            node.clone(),
        ))),
    );
    task::spawn(
        "watch_namespaces",
        until(Box::pin(watch::namespaces(client.clone(), node.clone()))),
    );
    task::spawn(
        "watch_settings",
        until(Box::pin(watch::settings(client.clone(), node.clone()))),
    );
    task::spawn(
        "root",
        until(Box::pin(root::keep(
            client.clone(),
            own.clone(),
            run_dir.clone(),
        ))),
    );
    task::spawn(
        "scan",
        until(Box::pin(look(node.clone(), config.proc.clone()))),
    );
    task::spawn(
        "first_sync",
        until(Box::pin(first_sync(
            node.clone(),
            Arc::clone(&context),
            events,
        ))),
    );

    let (installed, stay) = culvert_runtime::drain::channel();
    let plugin = plugin(&config, &run_dir);
    if let Some(plugin) = plugin.clone() {
        let credentials = credentials::keep(client.clone(), own.clone(), run_dir.clone());
        task::spawn("credentials", until(Box::pin(credentials)));
        let waited = ready.task("CNI plugin");
        task::spawn("cni_plugin", plugin.keep(ready, waited, stay));
    }
    let leaving = uninstall::Leaving {
        client,
        namespace: own,
        name,
        run_dir,
        node: node.clone(),
        context,
        plugin,
    };
    task::spawn("uninstall", until(Box::pin(leaving.run(installed))));
    Ok(node)
}

fn plugin(config: &Config, run_dir: &Path) -> Option<Plugin> {
    let (conf_dir, bin_dir) = (config.cni_conf_dir.clone()?, config.cni_bin_dir.clone()?);
    let beside = || {
        let own = std::env::current_exe().unwrap_or_default();
        own.with_file_name(crate::cni::conflist::PLUGIN)
    };
    Some(Plugin {
        program: config.cni_plugin.clone().unwrap_or_else(beside),
        bin_dir,
        conf_dir,
        run_dir: config
            .host_run_dir
            .clone()
            .unwrap_or_else(|| run_dir.to_owned()),
    })
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn until(drain: Drain, work: Work) {
    tokio::select! {
        () = drain.signaled() => {}
        () = work => {}
    }
}

/// When the API has told everything: pods that an earlier agent knew and that are no more are gone.
async fn first_sync(node: Node, context: Arc<Context>, events: mpsc::UnboundedSender<PodEvent>) {
    let mut changed = node.subscribe();
    while !node.look(cache::Cache::is_synced) {
        // The sender lives as long as the node.
        drop(changed.changed().await);
    }
    for record in context.store.records() {
        let uid = record.pod.uid;
        if !node.look(|cache| cache.has(&uid)) {
            tracing::info!(pod = uid, "deleted while no agent was running");
            drop(events.send(PodEvent::Deleted(uid)));
        }
    }
    tracing::info!("the API has told of all pods of this node");
    drop(events.send(PodEvent::Synced));
}

/// Look for the namespaces of pods that run already.
async fn look(node: Node, proc: PathBuf) {
    let mut looks = 0_u32;
    loop {
        if looks.is_multiple_of(FULL) || node.look(cache::Cache::lacks) {
            let proc = proc.clone();
            let found = tokio::task::spawn_blocking(move || scan::namespaces(&proc)).await;
            match found.map_err(std::io::Error::other).flatten() {
                Ok(found) => node.change(|cache| {
                    for (uid, namespaces) in &found {
                        cache.found(uid, namespaces);
                    }
                    Vec::new()
                }),
                Err(error) => {
                    tracing::error!(%error, "cannot look for the pods' network namespaces")
                }
            }
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK).await;
    }
}
