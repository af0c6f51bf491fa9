//! Policy on live connections: whatever changes in the mesh's state, every open inbound connection is judged anew, and
//! every one that goes outside of the mesh.
//!
//! Invariant: a connection that the current state denies ends within a second of that state's arrival. See
//! `connections` for why a change that races with an accept is not lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use culvert_xds::Store;
use culvert_xds::state::{Settings, Snapshot};

use super::inbound::authorize::Rules;
use crate::egress;
use crate::inpod::{Pod, Pods};

/// Changes that follow each other closely are looked at together.
const PAUSE: Duration = Duration::from_millis(50);

/// Judge after each change, for ever.
pub(crate) async fn run(store: Store, pods: Arc<Pods>) {
    let mut changed = store.changed();
    let mut judge = Judge::default();
    loop {
        // Seen before the state is read: a change after that is another round.
        changed.borrow_and_update();
        judge.sweep(&store.snapshot(), &pods.with_connections());
        tokio::time::sleep(PAUSE).await;
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Remembers by which rules and settings each pod's connections were judged.
#[derive(Debug, Default)]
struct Judge {
    rules: HashMap<u64, (Rules, egress::Rules)>,
    settings: Option<Arc<Settings>>,
}

impl Judge {
    fn sweep(&mut self, snapshot: &Snapshot, pods: &[Arc<Pod>]) {
        let mut last = std::mem::take(&mut self.rules);
        let settings = snapshot.settings();
        let moved = self.settings.replace(settings.clone());
        let moved = moved.is_none_or(|before| !Arc::ptr_eq(&before, settings));
        for pod in pods {
            if moved {
                pod.connections.send_out(settings);
            }
            let rules = Rules::of(snapshot, pod);
            let outside = egress::Rules::of(snapshot, pod);
            let unchanged = last
                .remove(&pod.serial())
                .is_some_and(|(inside, out)| inside.is_same(&rules) && out.is_same(&outside));
            if !unchanged || pod.connections.has_fresh() {
                let connections = &pod.connections;
                let ended = connections.sweep(|subject| rules.judge(subject))
                    + connections.sweep_leaving(|leave| outside.judge(leave));
                if ended > 0 {
                    tracing::info!(pod = %pod.uid(), ended, "policy ended open connections");
                }
            }
            self.rules.insert(pod.serial(), (rules, outside));
        }
    }
}
