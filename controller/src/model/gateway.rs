//! A gateway, which may be a waypoint, or take connections from outside the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;

use super::{CertificateRef, Frontend, Listener};

/// What counts of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gateway {
    /// Its class.
    pub class: String,
    /// Set when it is a waypoint of ours.
    pub waypoint: Option<Waypoint>,
    /// Set when it is ours and takes connections from outside the mesh.
    pub listeners: Option<Vec<Listener>>,
    /// What it proves itself with to backends.
    pub client_certificate: Option<CertificateRef>,
    /// What it asks of clients.
    pub frontend: Frontend,
    /// Whose ListenerSets it takes listeners from.
    pub allowed_sets: Allowed,
}

impl Gateway {
    /// Whether instances of it are told anything.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.waypoint.is_some() || self.listeners.is_some()
    }
}

/// A waypoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waypoint {
    /// Where it runs.
    pub addresses: Vec<IpAddr>,
    /// Where it takes HBONE.
    pub port: u16,
    /// Which traffic goes through it.
    pub purpose: Purpose,
    /// Who may use it.
    pub allowed: Allowed,
}

/// Which traffic goes through a waypoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Purpose {
    /// Traffic to services.
    Service,
    /// Traffic to pods' own addresses.
    Workload,
    /// Both.
    All,
}

impl Purpose {
    /// As the label `culvert.dev/waypoint-for` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::All => "all",
        }
    }

    /// What the label says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Service, Self::Workload, Self::All];
        all.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// Traffic to services goes through it.
    #[must_use]
    pub fn services(self) -> bool {
        self != Self::Workload
    }

    /// Traffic to pods' own addresses goes through it.
    #[must_use]
    pub fn workloads(self) -> bool {
        self != Self::Service
    }
}

/// Which namespaces may use a waypoint, attach routes to a listener, or listeners to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub enum Allowed {
    /// Its own namespace only.
    Same,
    /// All namespaces.
    All,
    /// Nobody, its own namespace neither.
    #[default]
    None,
    /// Namespaces with certain labels, and only they.
    Selector(LabelSelector),
}

impl Allowed {
    /// Whether namespace `from`, which has `labels`, may use a waypoint of namespace `own`.
    #[must_use]
    pub fn admits(&self, own: &str, from: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        match self {
            Self::Same => own == from,
            Self::All => true,
            Self::None => false,
            Self::Selector(selector) => selects(selector, labels.unwrap_or(&BTreeMap::new())),
        }
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_labels = selector.match_labels.iter().flatten();
    let by_expressions = selector.match_expressions.iter().flatten();
    by_labels
        .map(|(key, value)| labels.get(key) == Some(value))
        .chain(by_expressions.map(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|v| expression.values.iter().flatten().any(|x| x == v));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        }))
        .all(|satisfied| satisfied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn consent() {
        assert!(Allowed::Same.admits("a", "a", None));
        assert!(!Allowed::Same.admits("a", "b", None));
        assert!(Allowed::All.admits("a", "b", None));
        assert!(!Allowed::None.admits("a", "a", None));
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"t":"x"},"matchExpressions":[{"key":"env","operator":"NotIn","values":["dev"]}]}"#,
        )
        .unwrap();
        let allowed = Allowed::Selector(selector);
        assert!(allowed.admits("a", "b", Some(&labels(&[("t", "x")]))));
        assert!(allowed.admits("a", "b", Some(&labels(&[("t", "x"), ("env", "prod")]))));
        assert!(!allowed.admits("a", "b", Some(&labels(&[("t", "x"), ("env", "dev")]))));
        assert!(!allowed.admits("a", "b", Some(&labels(&[("t", "y")]))));
        assert!(!allowed.admits("a", "a", None));
    }
}
