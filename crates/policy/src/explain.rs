//! [`explain`]: the same decision as [`PolicySet::evaluate`], taken apart: which policy, rule, clause, match and field
//! said yes or no. For people and for the command line; it allocates and has no place on a connection's way.

mod display;

use serde::Serialize;

use crate::{
    Action, Clause, Connection, DenyReason, Field, Match, Policy, PolicySet, Rule, Verdict,
};

/// A [`Verdict`] that owns its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether the connection is permitted.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DenyReason>,
    /// The policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Why a connection is permitted or denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is enforced.
    pub outcome: Outcome,
    /// What would be enforced if the dry-run policies counted too, when there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Outcome>,
    /// Every policy of the set, in the order of evaluation.
    pub policies: Vec<PolicyExplanation>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// What it does when it matches.
    pub action: Action,
    /// Not enforced.
    pub dry_run: bool,
    /// Its action applies to the connection.
    pub matched: bool,
    /// Why its rules could not be read, if they could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
    /// Any of these suffices.
    pub rules: Vec<RuleExplanation>,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleExplanation {
    /// Every clause matched.
    pub matched: bool,
    /// All are needed.
    pub clauses: Vec<ClauseExplanation>,
}

/// One clause of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClauseExplanation {
    /// Some match matched, or there is none.
    pub matched: bool,
    /// Any of these suffices.
    pub matches: Vec<MatchExplanation>,
}

/// One match of a clause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatchExplanation {
    /// Every named field is satisfied and there is one.
    pub matched: bool,
    /// The fields that it names; all are needed.
    pub fields: Vec<FieldExplanation>,
}

/// One field of a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldExplanation {
    /// Which.
    pub field: Field,
    /// It is satisfied.
    pub matched: bool,
    /// The values in the policy.
    pub expected: Vec<String>,
    /// What the connection has, `none` for the identity of a plain-text peer.
    pub actual: String,
}

/// Decides a connection and says how.
#[must_use]
pub fn explain(set: &PolicySet, conn: &Connection<'_>) -> Explanation {
    Explanation {
        outcome: set.evaluate(conn).into(),
        dry_run: set.dry_run(conn).map(Outcome::from),
        policies: set
            .iter()
            .map(|policy| explain_policy(policy, conn))
            .collect(),
    }
}

impl From<Verdict<'_>> for Outcome {
    fn from(verdict: Verdict<'_>) -> Self {
        let (allowed, reason, policy) = match verdict {
            Verdict::Allow { by } => (true, None, by),
            Verdict::Deny { reason, policy } => (false, Some(reason), policy),
        };
        Self {
            allowed,
            reason,
            policy: policy.map(|name| name.to_string()),
        }
    }
}

fn explain_policy(policy: &Policy, conn: &Connection<'_>) -> PolicyExplanation {
    PolicyExplanation {
        name: policy.name().to_string(),
        action: policy.action(),
        dry_run: policy.is_dry_run(),
        matched: policy.matches(conn),
        malformed: policy.error().map(str::to_owned),
        rules: policy
            .rules()
            .iter()
            .map(|rule| explain_rule(rule, conn, policy.action()))
            .collect(),
    }
}

fn explain_rule(rule: &Rule, conn: &Connection<'_>, action: Action) -> RuleExplanation {
    RuleExplanation {
        matched: rule.matches(conn, action),
        clauses: rule
            .clauses
            .iter()
            .map(|clause| explain_clause(clause, conn, action))
            .collect(),
    }
}

fn explain_clause(clause: &Clause, conn: &Connection<'_>, action: Action) -> ClauseExplanation {
    ClauseExplanation {
        matched: clause.matches(conn, action),
        matches: clause
            .matches
            .iter()
            .map(|m| explain_match(m, conn, action))
            .collect(),
    }
}

fn explain_match(m: &Match, conn: &Connection<'_>, action: Action) -> MatchExplanation {
    let field = |field: &Field| {
        Some(FieldExplanation {
            field: *field,
            matched: m.check(*field, conn, action)?,
            expected: m.values(*field),
            actual: actual(*field, conn),
        })
    };
    MatchExplanation {
        matched: m.matches(conn, action),
        fields: Field::ALL.iter().filter_map(field).collect(),
    }
}

fn actual(field: Field, conn: &Connection<'_>) -> String {
    let peer =
        |text: fn(&crate::Principal) -> String| conn.peer.map_or_else(|| "none".to_owned(), text);
    match field {
        Field::Namespaces | Field::NotNamespaces => peer(|p| p.namespace().to_owned()),
        Field::Principals | Field::NotPrincipals => peer(|p| p.as_str().to_owned()),
        Field::ServiceAccounts | Field::NotServiceAccounts => {
            peer(|p| format!("{}/{}", p.namespace(), p.service_account()))
        }
        Field::SourceIps | Field::NotSourceIps => conn.source.to_canonical().to_string(),
        Field::DestinationIps | Field::NotDestinationIps => {
            conn.destination.ip().to_canonical().to_string()
        }
        Field::DestinationPorts | Field::NotDestinationPorts => conn.destination.port().to_string(),
        Field::UnknownConditions => "not understood by this version".to_owned(),
    }
}
