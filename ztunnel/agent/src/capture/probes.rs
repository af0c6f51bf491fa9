//! The probes of all captured pods, and the node's rules for them.
//!
//! Invariants: the rules are put as a whole, in one transaction a table, for all pods that are captured;
//! without any such pod nothing of ours is on the node; everything here acts on the calling thread's
//! namespace, which is the node's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command::ToolError;
use super::node::{NodeRules, TABLE};
use super::plan::Step;
use super::tools::Tools;
use crate::netlink::nft;
use crate::pod::Pod;

/// The user that the kubelet runs as.
pub const KUBELET: u32 = 0;

/// What of which pod is probed, and the rules for that.
#[derive(Debug)]
pub struct Probes {
    tools: Tools,
    uid: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<String, BTreeSet<(IpAddr, u16)>>,
    /// The rules are what `pods` says, as far as is known.
    in_force: bool,
    /// Those of other backends were looked for.
    superseded: bool,
    /// nftables' number of the rule set that was read back last.
    verified: Option<u32>,
}

impl Probes {
    /// For the connections of user `uid`; `recorded` are the pods that an earlier agent has captured.
    #[must_use]
    pub fn new<'a>(tools: &Tools, uid: u32, recorded: impl Iterator<Item = &'a Pod>) -> Self {
        let pods = recorded.map(|pod| (pod.uid.clone(), targets(pod)));
        let state = State {
            pods: pods.filter(|(_, targets)| !targets.is_empty()).collect(),
            ..State::default()
        };
        Self {
            tools: tools.shared(),
            uid,
            state: Mutex::new(state),
        }
    }

    /// Let the probes of `pod` past. Rules that are in force already are not looked at again.
    pub fn set(&self, pod: &Pod) -> Result<(), ToolError> {
        let (mut state, targets) = (self.lock(), targets(pod));
        let known = state.pods.get(&pod.uid);
        if known.map_or(targets.is_empty(), |known| *known == targets) {
            return if state.in_force || state.pods.is_empty() {
                Ok(())
            } else {
                self.ensure(&mut state).map(drop)
            };
        }
        if targets.is_empty() {
            state.pods.remove(&pod.uid);
        } else {
            state.pods.insert(pod.uid.clone(), targets);
        }
        state.verified = None;
        self.ensure(&mut state).map(drop)
    }

    /// The pod of this uid is not captured any more.
    pub fn forget(&self, uid: &str) -> Result<(), ToolError> {
        let mut state = self.lock();
        if state.pods.remove(uid).is_none() {
            return Ok(());
        }
        state.verified = None;
        self.ensure(&mut state).map(drop)
    }

    /// Look at the node's rules, put right what differs, and tell what it was.
    pub fn audit(&self) -> Result<Vec<String>, ToolError> {
        let mut state = self.lock();
        let known = state.in_force;
        let drift = self.ensure(&mut state)?;
        Ok(if known { drift } else { Vec::new() })
    }

    /// Take all of it away, for uninstalling.
    pub fn clear(&self) -> Result<(), ToolError> {
        let mut state = self.lock();
        state.pods.clear();
        state.superseded = false;
        self.ensure(&mut state).map(drop)
    }

    fn ensure(&self, state: &mut State) -> Result<Vec<String>, ToolError> {
        let targets: BTreeSet<_> = state.pods.values().flatten().copied().collect();
        let (families, number) = (self.tools.families(), self.number());
        if number.is_some() && number == state.verified {
            return Ok(Vec::new());
        }
        state.in_force = false;
        let drift = if targets.is_empty() {
            for step in [Step::Redirection, Step::Rest] {
                self.tools.backend().remove(TABLE, step, &families)?;
            }
            Vec::new()
        } else {
            let (uid, backend) = (self.uid, self.tools.backend());
            let rules = NodeRules { uid, targets };
            let drift = backend.ensure(&rules, &families)?;
            if !drift.is_empty() {
                let left = backend.drift(&rules, &families)?;
                if !left.is_empty() {
                    let (program, drift) = (backend.name().to_owned(), left.join(", "));
                    return Err(ToolError::ReadBack { program, drift });
                }
            }
            drift
        };
        if !state.superseded {
            self.tools.supersede(TABLE, &families)?;
            state.superseded = true;
        }
        // Changes of others after `number` was read are seen the next time; so are our own, once.
        state.verified = number;
        state.in_force = true;
        Ok(drift)
    }

    fn number(&self) -> Option<u32> {
        let numbered = self.tools.backend().is_numbered();
        numbered.then(|| nft::ruleset_number().ok()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn targets(pod: &Pod) -> BTreeSet<(IpAddr, u16)> {
    let ports = pod.options.probe_ports.iter();
    ports
        .flat_map(|&port| pod.addresses.iter().map(move |&ip| (ip, port)))
        .collect()
}
