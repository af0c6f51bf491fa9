//! What one pod may reach outside of the mesh, by one snapshot.
//!
//! Invariants: a policy that is named and not known, or a pod that is not known, refuses; a connection without a name is not
//! admitted by a rule that asks for one, also if it was open before the rule.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_policy::{DenyReason, EgressSet, EgressWord};
use culvert_xds::state::{Snapshot, Workload};

use crate::inpod::Pod;
use crate::proxy::denial::Denial;

/// So many policies are named in a log line.
const NAMED: usize = 4;

/// A connection that leaves the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) to: SocketAddr,
    /// What the client named, once it was proved.
    pub(crate) name: Option<Box<str>>,
}

/// All that decides what a pod may reach outside; no set: everything.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Result<Option<EgressSet>, Denial>);

/// What address and port alone tell.
#[derive(Debug)]
pub(crate) enum At<'a> {
    Admitted,
    /// The client has to name what these may admit.
    ByName(&'a EgressSet),
}

impl Rules {
    /// Those of `pod`.
    pub(crate) fn of(snapshot: &Snapshot, pod: &Pod) -> Self {
        match pod.workload(snapshot) {
            Some(workload) => Self::of_workload(snapshot, workload),
            None => Self(Err(DenyReason::WorkloadUnknown.into())),
        }
    }

    /// Those of a workload.
    pub(crate) fn of_workload(snapshot: &Snapshot, workload: &Workload) -> Self {
        let missing = |error| Denial::because(DenyReason::PolicyMissing, error);
        Self(snapshot.egress_for(workload).map_err(missing))
    }

    /// Whether any of it is by this name.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        let set = self.0.as_ref().ok().and_then(Option::as_ref);
        set.is_some_and(|set| set.is_about(name))
    }

    /// What is known before the client has said anything.
    pub(crate) fn at(&self, to: SocketAddr) -> Result<At<'_>, Denial> {
        let Some(set) = self.0.as_ref().map_err(Clone::clone)? else {
            return Ok(At::Admitted);
        };
        match set.at(to) {
            EgressWord::Admitted(_) => Ok(At::Admitted),
            EgressWord::ByName => Ok(At::ByName(set)),
            EgressWord::Refused => Err(not_allowed(set, to, None)),
        }
    }

    /// The verdict on a connection of which all is known.
    pub(crate) fn judge(&self, leave: &Leave) -> Result<(), Denial> {
        match (self.at(leave.to)?, &leave.name) {
            (At::Admitted, _) => Ok(()),
            (At::ByName(set), Some(name)) => admits(set, leave.to, name).map(drop),
            (At::ByName(set), None) => Err(nameless(set, &"the client gave none")),
        }
    }

    /// Whether both judge every connection alike because nothing differs.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Ok(Some(a)), Ok(Some(b))) => a.is_same(b),
            (Ok(None), Ok(None)) => true,
            (Err(a), Err(b)) => a == b,
            _ => false,
        }
    }
}

/// The policy that admits a name at a port.
pub(crate) fn admits(set: &EgressSet, to: SocketAddr, name: &str) -> Result<Arc<str>, Denial> {
    let admitted = set.named(to, name).cloned();
    admitted.ok_or_else(|| not_allowed(set, to, Some(name)))
}

/// Only a name could help, and there is none.
pub(crate) fn nameless(set: &EgressSet, why: &impl std::fmt::Display) -> Denial {
    Denial {
        policy: first(set),
        ..Denial::because(DenyReason::EgressNameMissing, why)
    }
}

fn not_allowed(set: &EgressSet, to: SocketAddr, name: Option<&str>) -> Denial {
    if set.is_empty() {
        let why = format_args!("{to} is outside of the mesh and no EgressPolicy applies");
        return Denial::because(DenyReason::EgressRegistryOnly, why);
    }
    let names: Vec<&str> = set.iter().take(NAMED).map(|policy| &*policy.name).collect();
    let names = names.join(", ");
    let why = match name {
        Some(name) => format!("no rule allows {name} at {to}, of {names}"),
        None => format!("no rule allows {to}, of {names}"),
    };
    Denial {
        policy: first(set),
        ..Denial::because(DenyReason::EgressNotAllowed, why)
    }
}

fn first(set: &EgressSet) -> Option<Arc<str>> {
    set.iter().next().map(|policy| policy.name.clone())
}

#[cfg(test)]
mod tests;
