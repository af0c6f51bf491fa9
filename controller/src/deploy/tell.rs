//! Statuses of Gateways, as they are written.
//!
//! A gateway's listeners are told from what is served, so each snapshot in which they differ tells anew, without anything
//! being deployed again. Invariant: a status is of the Gateway's generation only if what is served was made from that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::timeout;

use super::class::Role;
use super::gateway::{self, Refused};
use super::line::LineError;
use super::run::{DEBOUNCE, RETRY, Term, resource};
use super::status::{self, Progress};
use crate::model::{Kind, NsName};
use crate::translate::listener::GatewayState;

/// How long what is served may be older than a Gateway.
const BEHIND: Duration = Duration::from_secs(10);
/// One write.
const DEADLINE: Duration = Duration::from_secs(10);

type States = OrdMap<NsName, Arc<GatewayState>>;

/// Tell of gateways whenever what became of their listeners differs. Never ends.
pub(super) async fn follow(term: Arc<Term>, gateways: Store<DynamicObject>) {
    let mut snapshots = term.deployer.heard.snapshots.clone();
    let (mut before, mut due) = (States::new(), BTreeSet::new());
    loop {
        let now = snapshots.borrow_and_update().gateways.clone();
        due.extend(changed(&before, &now));
        if other_ports(&before, &now) {
            term.again.send_replace(());
        }
        before = now;
        let mut failed = BTreeSet::new();
        for name in std::mem::take(&mut due) {
            if let Err(error) = term.retell(&gateways, &name).await {
                tracing::warn!(gateway = %name, %error, "its listeners' status could not be written");
                failed.insert(name);
            }
        }
        let pause = if failed.is_empty() { DEBOUNCE } else { RETRY };
        due = failed;
        tokio::time::sleep(pause).await;
        if due.is_empty() && snapshots.changed().await.is_err() {
            // The program ends.
            std::future::pending::<()>().await;
        }
    }
}

/// The names under which there is something else.
fn changed(before: &States, now: &States) -> Vec<NsName> {
    if before.ptr_eq(now) {
        return Vec::new();
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let other = now.iter().filter(|(name, state)| {
        let old = before.get(*name);
        old.is_none_or(|old| !Arc::ptr_eq(old, state))
    });
    gone.chain(other.map(|(name, _)| name)).cloned().collect()
}

/// Whether ListenerSets add other ports to any Gateway.
fn other_ports(before: &States, now: &States) -> bool {
    let ports = |states: &States, name: &NsName| {
        let state = states.get(name);
        state
            .map(|state| state.set_ports.clone())
            .unwrap_or_default()
    };
    let changed = changed(before, now);
    let mut changed = changed.iter();
    changed.any(|name| ports(before, name) != ports(now, name))
}

impl Term {
    /// Write the Gateway's status, if it says something else.
    pub(super) async fn tell(
        &self,
        object: &DynamicObject,
        role: Role,
        progress: Progress,
    ) -> Result<(), LineError> {
        if role == Role::Gateway {
            let version = version(object);
            let mut seen = self.deployer.heard.seen.clone();
            let there = seen.wait_for(|seen| seen.of(Kind::Gateway) >= version);
            match timeout(BEHIND, there).await {
                Ok(Ok(_)) => {}
                _ => return Err(LineError::Behind),
            }
        }
        let mut known = self.progress.lock().await;
        if self.write(object, role, &progress).await?
            && let Progress::Refused(Refused(_, message)) | Progress::Conflict(message) = &progress
        {
            tracing::warn!(gateway = %name(object), message, "not deployed");
        }
        if role == Role::Gateway {
            known.insert(name(object), progress);
        }
        Ok(())
    }

    /// The same with what is known of it already. What is not known yet, or has changed since, is told when it is brought
    /// in line.
    async fn retell(
        &self,
        gateways: &Store<DynamicObject>,
        name: &NsName,
    ) -> Result<(), LineError> {
        let mut known = self.progress.lock().await;
        let at = ObjectRef::new_with(&name.name, resource()).within(&name.namespace);
        let object = gateways.get(&at);
        let object = object.filter(|object| self.classes.role(object) == Some(Role::Gateway));
        let Some(object) = object else {
            known.remove(name);
            return Ok(());
        };
        let seen = self.deployer.heard.seen.borrow().of(Kind::Gateway);
        match known.get(name) {
            Some(progress) if version(&object) <= seen => {
                self.write(&object, Role::Gateway, progress).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether anything had to be written.
    async fn write(
        &self,
        object: &DynamicObject,
        role: Role,
        progress: &Progress,
    ) -> Result<bool, LineError> {
        let before = object.data.get("status");
        let names = gateway::listeners(object);
        let told = match role {
            Role::Waypoint => status::of_waypoint(progress, before, &names),
            Role::Gateway => {
                let snapshot = self.deployer.heard.snapshots.borrow().clone();
                let state = snapshot.gateways.get(&name(object));
                status::of_gateway(progress, before, &names, state.map(|state| &**state))
            }
        };
        let generation = object.metadata.generation;
        let status = status::of(&told, generation, before, &status::now());
        let same = |key: &str| before.is_some_and(|before| before.get(key) == status.get(key));
        if ["addresses", "conditions", "listeners", status::SETS]
            .into_iter()
            .all(same)
        {
            return Ok(false);
        }
        let namespace = object.namespace().unwrap_or_default();
        let client = self.deployer.client.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource());
        let (patch, params) = (
            Patch::Merge(json!({"status": status})),
            PatchParams::default(),
        );
        let name = object.name_any();
        let written = api.patch_status(&name, &params, &patch);
        let written = timeout(DEADLINE, written).await?;
        written.map_err(|error| LineError::Api("the Gateway's status", error))?;
        Ok(true)
    }
}

fn name(object: &DynamicObject) -> NsName {
    NsName::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// How far the source has to be read to know of this.
fn version(object: &DynamicObject) -> u64 {
    let version = object.metadata.resource_version.as_ref();
    let version = version.and_then(|version| version.parse().ok());
    version.unwrap_or_default()
}

#[cfg(test)]
mod tests;
