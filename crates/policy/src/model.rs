//! A policy as it is evaluated: validated, immutable, and shared by every workload that it applies to.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::StringMatch;

/// What a policy does with a connection that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Permits it. Where an ALLOW policy applies, what none of them matches is denied.
    Allow,
    /// Denies it, whatever any ALLOW policy says.
    Deny,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        })
    }
}

/// One authorization policy. It matches when any of its rules does, so one without rules never matches (which makes an
/// ALLOW policy without rules deny everything).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Policy {
    name: Arc<str>,
    action: Action,
    dry_run: bool,
    rules: Box<[Rule]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<Box<str>>,
    #[serde(skip)]
    demands_mtls: bool,
}

impl Policy {
    /// A policy named `NAMESPACE/NAME`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, action: Action, rules: Vec<Rule>) -> Self {
        let demands_mtls = action == Action::Deny
            && !rules.is_empty()
            && rules.iter().all(Rule::excuses_every_identity);
        Self {
            name: name.into(),
            action,
            dry_run: false,
            rules: rules.into(),
            malformed: None,
            demands_mtls,
        }
    }

    /// A policy whose rules could not be read. It fails closed: as ALLOW it matches nothing, as DENY everything.
    #[must_use]
    pub fn malformed(
        name: impl Into<Arc<str>>,
        action: Action,
        error: impl Into<Box<str>>,
    ) -> Self {
        Self {
            malformed: Some(error.into()),
            ..Self::new(name, action, Vec::new())
        }
    }

    /// The same policy, evaluated and reported but never enforced.
    #[must_use]
    pub fn with_dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it does when it matches.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Evaluated and reported, never enforced.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Any of these must match.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Why its rules could not be read, if they could not.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.malformed.as_deref()
    }

    /// A DENY policy that no peer with an identity can match: it demands mutual TLS and says nothing else of the
    /// client, as PeerAuthentication STRICT does.
    #[must_use]
    pub fn demands_mtls(&self) -> bool {
        self.demands_mtls
    }
}

/// Matches when each of its clauses does; one without clauses sets no condition and matches every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rule {
    /// All must match.
    pub clauses: Vec<Clause>,
}

impl Rule {
    fn excuses_every_identity(&self) -> bool {
        self.clauses.iter().any(|clause| {
            !clause.matches.is_empty()
                && clause
                    .matches
                    .iter()
                    .all(|m| m.not_principals.contains(&StringMatch::Presence))
        })
    }
}

/// Matches when any of its matches does; one without matches sets no condition and matches every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Clause {
    /// Any must match.
    pub matches: Vec<Match>,
}

/// Matches when every field that is named (not empty) is satisfied: one of the values for a plain field, none of them
/// for a `not_` field. A match that names no field matches nothing, whatever the action: control planes send it for a
/// condition that layer 4 does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(default)]
pub struct Match {
    /// The peer's namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<StringMatch>,
    /// Not the peer's namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<StringMatch>,
    /// The peer's principal, `TD/ns/NS/sa/SA`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<StringMatch>,
    /// Not the peer's principal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_principals: Vec<StringMatch>,
    /// The peer's service account, in whatever trust domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// Not the peer's service account.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    /// Blocks that contain the peer's address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<IpNet>,
    /// Blocks that do not contain the peer's address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_source_ips: Vec<IpNet>,
    /// Blocks that contain the destination's address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ips: Vec<IpNet>,
    /// Blocks that do not contain the destination's address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_destination_ips: Vec<IpNet>,
    /// The destination's port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ports: Vec<u16>,
    /// Not the destination's port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_destination_ports: Vec<u16>,
    /// Names of further conditions that this version does not understand. As every field narrows a match, an ALLOW
    /// policy treats them as not satisfied and a DENY policy as satisfied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_conditions: Vec<Box<str>>,
}

/// One service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct ServiceAccountMatch {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub service_account: Box<str>,
}

impl fmt::Display for ServiceAccountMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}
