//! The end of the mesh on this node: when the ConfigMap `culvert-uninstall` is there, everything that the agent did is
//! undone, and only then says so.
//!
//! Invariant: the plugin goes before the pods are released, so that no new pod waits for a capture that will not come;
//! the node says that it is released only when nothing of ours is left on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_cni_wire::SOCKET;
use culvert_runtime::drain::Trigger;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::node::Node;
use crate::cni::install::Plugin;
use crate::worker::Context;

const MAP: &str = "culvert-uninstall";
const RELEASED: &str = "released";
/// What connections through ztunnel have to end by themselves, before they are ended.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks whether all pods are released.
const LOOK: Duration = Duration::from_millis(500);
/// What we keep in the run directory, the lock last: it says that an agent is here.
const FILES: [&str; 7] = [
    SOCKET,
    "root.crt",
    "ztunnel.sock",
    "agent-admin.sock",
    "pods.json",
    "xtables.lock",
    "agent.lock",
];

/// What is to be undone, and with what.
pub(super) struct Leaving {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) run_dir: PathBuf,
    pub(super) node: Node,
    pub(super) context: Arc<Context>,
    pub(super) plugin: Option<Plugin>,
}

impl Leaving {
    /// Wait for the order, and follow it. `installed` keeps the plugin in place until then.
    pub(super) async fn run(self, installed: Trigger) {
        let (order, mut ordered) = watch::channel(false);
        let told = |map: Option<&ConfigMap>| {
            if map.is_some() {
                order.send_replace(true);
            }
        };
        tokio::select! {
            () = super::watch::config_map(self.client.clone(), &self.namespace, MAP, told) => return,
            _ = ordered.wait_for(|ordered| *ordered) => {}
        }
        tracing::warn!(
            map = MAP,
            "the mesh is being uninstalled: all pods of this node are released"
        );
        installed.start();
        installed.finished().await;
        self.take_plugin().await;
        self.node.change(|cache| {
            cache.leave();
            Vec::new()
        });
        let mut said = String::new();
        let ordered = Instant::now();
        loop {
            if ordered.elapsed() > PATIENCE {
                self.context.leave_now();
            }
            let state = self.state();
            if state == RELEASED {
                self.tidy();
            }
            if state != said && self.say(&state).await {
                said = state;
            }
            if said == RELEASED {
                tracing::info!("nothing of the mesh is left on this node");
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn take_plugin(&self) {
        let Some(plugin) = &self.plugin else {
            return;
        };
        loop {
            match Plugin::remove(&plugin.conf_dir, Some(&plugin.bin_dir)) {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, "the CNI plugin cannot be removed"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is left, for people to read; [`RELEASED`] when nothing is.
    fn state(&self) -> String {
        let records = self.context.store.records();
        let Some(record) = records.first() else {
            return RELEASED.to_owned();
        };
        let statuses = self.context.statuses.all();
        let why = statuses
            .get(&record.pod.uid)
            .map_or("", |status| status.message.as_str());
        let (namespace, name) = (&record.pod.namespace, &record.pod.name);
        format!(
            "{} pods are not released yet, {namespace}/{name}: {why}",
            records.len()
        )
    }

    fn tidy(&self) {
        let credentials = culvert_cni_wire::credentials(&self.run_dir);
        let files = FILES.iter().map(|name| self.run_dir.join(name));
        for path in files.chain([credentials]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!(path = %path.display(), %error, "cannot be removed");
                }
                _ => {}
            }
        }
    }

    /// Write the node's state into the ConfigMap; whether that worked.
    async fn say(&self, state: &str) -> bool {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let patch = serde_json::json!({ "data": { &self.name: state } });
        match maps
            .patch(MAP, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(map = MAP, %error, "cannot say how far this node is");
                false
            }
        }
    }
}
