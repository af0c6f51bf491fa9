//! [`PolicySet::evaluate`]: the decision. It allocates nothing and looks at nothing but its arguments.

use std::sync::Arc;

use crate::{Action, Clause, Connection, DenyReason, Field, Match, Policy, Rule};

/// Every policy that applies to one workload. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Arc<[Arc<Policy>]>,
}

/// The outcome of an evaluation, naming the policy that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Permitted by this ALLOW policy, or by none because none applies.
    Allow {
        /// The policy's `NAMESPACE/NAME`.
        by: Option<&'a Arc<str>>,
    },
    /// Denied.
    Deny {
        /// Why.
        reason: DenyReason,
        /// The policy that denies, unless it is the absence of a matching ALLOW policy.
        policy: Option<&'a Arc<str>>,
    },
}

impl Verdict<'_> {
    /// Whether the connection is permitted.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

impl PolicySet {
    /// The set of these policies; a name that comes twice counts once.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut policies: Vec<_> = policies.into_iter().collect();
        policies.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name().cmp(b.name())));
        policies.dedup_by(|a, b| a.name() == b.name());
        Self {
            policies: policies.into(),
        }
    }

    /// Every policy of the set, dry runs last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// No policy applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Decides a connection.
    ///
    /// 1. Any DENY policy that matches denies.
    /// 2. Without an ALLOW policy, the rest is permitted.
    /// 3. Any ALLOW policy that matches permits; otherwise the connection is denied.
    ///
    /// By these steps, adding a DENY policy never widens access, nor does removing an ALLOW policy as long as another
    /// one stays. Removing the last ALLOW policy does widen it, to everything that is not denied: that is the
    /// documented meaning of having none.
    ///
    /// A policy that could not be read matches everything as DENY and nothing as ALLOW. A peer without identity
    /// satisfies no identity field of an ALLOW policy, neither plain nor `not_`, and satisfies the `not_` fields of a
    /// DENY policy. Policies in dry run do not count here, see [`dry_run`](Self::dry_run).
    #[must_use]
    pub fn evaluate(&self, conn: &Connection<'_>) -> Verdict<'_> {
        self.decide(conn, |policy| !policy.is_dry_run())
    }

    /// What [`evaluate`](Self::evaluate) would say if the policies in dry run were enforced too; `None` without any.
    #[must_use]
    pub fn dry_run(&self, conn: &Connection<'_>) -> Option<Verdict<'_>> {
        self.policies
            .iter()
            .any(|policy| policy.is_dry_run())
            .then(|| self.decide(conn, |_| true))
    }

    fn decide(&self, conn: &Connection<'_>, counts: impl Fn(&Policy) -> bool) -> Verdict<'_> {
        let of = |action| {
            self.policies
                .iter()
                .filter(move |policy| policy.action() == action)
                .filter(|policy| counts(policy))
        };
        if let Some(policy) = of(Action::Deny).find(|policy| policy.matches(conn)) {
            return Verdict::Deny {
                reason: denial(policy),
                policy: Some(policy.name()),
            };
        }
        let mut restricted = false;
        for policy in of(Action::Allow) {
            if policy.matches(conn) {
                return Verdict::Allow {
                    by: Some(policy.name()),
                };
            }
            restricted = true;
        }
        if restricted {
            Verdict::Deny {
                reason: DenyReason::PolicyNotAllowed,
                policy: None,
            }
        } else {
            Verdict::Allow { by: None }
        }
    }
}

impl FromIterator<Arc<Policy>> for PolicySet {
    fn from_iter<I: IntoIterator<Item = Arc<Policy>>>(policies: I) -> Self {
        Self::new(policies)
    }
}

fn rank(policy: &Policy) -> (bool, bool) {
    (policy.is_dry_run(), policy.action() == Action::Allow)
}

fn denial(policy: &Policy) -> DenyReason {
    if policy.error().is_some() {
        DenyReason::PolicyMalformed
    } else if policy.demands_mtls() {
        DenyReason::MtlsRequired
    } else {
        DenyReason::PolicyDeny
    }
}

impl Policy {
    /// Whether the policy's action applies to the connection, fail-closed for that action.
    #[must_use]
    pub fn matches(&self, conn: &Connection<'_>) -> bool {
        if self.error().is_some() {
            return self.action() == Action::Deny;
        }
        self.rules()
            .iter()
            .any(|rule| rule.matches(conn, self.action()))
    }
}

impl Rule {
    pub(crate) fn matches(&self, conn: &Connection<'_>, action: Action) -> bool {
        self.clauses
            .iter()
            .all(|clause| clause.matches(conn, action))
    }
}

impl Clause {
    pub(crate) fn matches(&self, conn: &Connection<'_>, action: Action) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|m| m.matches(conn, action))
    }
}

impl Match {
    pub(crate) fn matches(&self, conn: &Connection<'_>, action: Action) -> bool {
        let mut named = false;
        for field in Field::ALL {
            match self.check(*field, conn, action) {
                Some(false) => return false,
                Some(true) => named = true,
                None => {}
            }
        }
        named
    }
}
