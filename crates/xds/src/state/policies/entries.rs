//! The entries of the policies' indexes and their order.

use std::cmp::Ordering;
use std::sync::Arc;

use culvert_policy::Policy;
use equivalent::{Comparable, Equivalent};

use super::{AttachedPolicy, Attachment, ServiceTarget};
use crate::state::index::Grouped;
use crate::state::workload::Workload;

/// The group of mesh-wide policies: no namespace has this name.
pub(super) const MESH: &str = "";

/// Ordered by namespace, then by name.
#[derive(Clone, Debug)]
pub(super) struct Broad {
    pub(super) namespace: Arc<str>,
    pub(super) policy: Arc<Policy>,
}

impl Broad {
    pub(super) fn of(attached: &AttachedPolicy) -> Self {
        Self {
            namespace: match &attached.attachment {
                Attachment::Namespace(namespace) => namespace.clone(),
                _ => MESH.into(),
            },
            policy: attached.policy.clone(),
        }
    }
}

impl Grouped<str> for Broad {
    fn group(&self) -> &str {
        &self.namespace
    }
}

impl Ord for Broad {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.namespace, self.policy.name()).cmp(&(&other.namespace, other.policy.name()))
    }
}

/// Ordered by service, then port, then name.
#[derive(Clone, Debug)]
pub(super) struct Targeting {
    pub(super) target: ServiceTarget,
    pub(super) policy: Arc<Policy>,
}

impl Grouped<str> for Targeting {
    fn group(&self) -> &str {
        &self.target.service
    }
}

impl Ord for Targeting {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.target, self.policy.name()).cmp(&(&other.target, other.policy.name()))
    }
}

crate::state::index::ordered!(Broad, Targeting);

/// What decides which policies apply to a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetKey {
    pub(super) namespace: Arc<str>,
    pub(super) names: Arc<[Arc<str>]>,
}

impl SetKey {
    pub(super) fn of(workload: &Workload) -> Self {
        Self {
            namespace: workload.namespace().clone(),
            names: workload.policies().clone(),
        }
    }
}

/// A borrowed [`SetKey`].
pub(super) struct SetRef<'a> {
    pub(super) namespace: &'a str,
    pub(super) names: &'a [Arc<str>],
}

impl Equivalent<SetKey> for SetRef<'_> {
    fn equivalent(&self, key: &SetKey) -> bool {
        self.compare(key).is_eq()
    }
}

impl Comparable<SetKey> for SetRef<'_> {
    fn compare(&self, key: &SetKey) -> Ordering {
        (self.namespace, self.names).cmp(&(&*key.namespace, &*key.names))
    }
}

/// A set names a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Naming {
    pub(super) policy: Arc<str>,
    pub(super) key: SetKey,
}

impl Grouped<str> for Naming {
    fn group(&self) -> &str {
        &self.policy
    }
}
