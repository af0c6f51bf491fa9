//! One HTTPRoute.
//!
//! Invariant: a rule that can't be served whole answers 500; it never disappears and so lets its traffic through.

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;

use super::filter::Filters;
use super::gateway::Attachment;
use super::matcher::Match;
use super::persistence::Persistence;
use super::retry::Retry;
use super::{ConfigError, ServiceRef, decode_all, duration};
use crate::http::host::Host;

/// A route with its rules in the user's order.
#[derive(Debug)]
pub struct Route {
    /// `NAMESPACE/NAME`, of a GRPCRoute `GRPCRoute/NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// RFC 3339 creation time in UTC, which sorts as text.
    pub created: String,
    /// Services of other namespaces, where it holds for clients of its own.
    pub consumed: Vec<ServiceRef>,
    /// Services that the route is attached to.
    pub parents: Vec<ServiceRef>,
    /// Listeners that the route is attached to.
    pub listeners: Vec<Attachment>,
    /// At services; empty means every host.
    pub hostnames: Vec<Hostname>,
    /// In the user's order.
    pub rules: Vec<Arc<Rule>>,
}

/// A host name that a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hostname {
    /// This very name.
    Exact(Box<str>),
    /// Any name that ends so and has one label more at least: `.example.com` for `*.example.com`.
    Wildcard(Box<str>),
    /// Any name that ends so and has one label more, no less and no more.
    Label(Box<str>),
}

/// One rule.
#[derive(Debug, Default)]
pub struct Rule {
    /// The user's name for it, or empty.
    pub name: String,
    /// Any of these; there is always one.
    pub matches: Vec<Match>,
    /// What is done to every request.
    pub filters: Arc<Filters>,
    /// Where requests go.
    pub backends: Vec<Backend>,
    /// Zero: no timeout. Absent: no statement.
    pub request_timeout: Option<Duration>,
    /// Zero: no timeout. Absent: no statement.
    pub backend_timeout: Option<Duration>,
    /// The rule's own retries.
    pub retry: Option<Arc<Retry>>,
    /// How requests of a session are kept at one endpoint.
    pub persistence: Option<Arc<Persistence>>,
}

/// One of a rule's backends.
#[derive(Debug)]
pub struct Backend {
    /// The service, or why there is none.
    pub target: Result<ServiceRef, String>,
    /// Its share among the rule's backends.
    pub weight: u32,
    /// What is done to requests that fall to it.
    pub filters: Arc<Filters>,
}

/// A decoded route, and what was wrong with it. Wrong rules are in it as rules that answer 500.
#[derive(Debug)]
pub struct Decoded {
    /// The route as it can be served.
    pub route: Route,
    /// Empty if it is as the user wrote it.
    pub errors: Vec<ConfigError>,
}

impl Route {
    /// Decodes a route; only wrong parents or hosts are an error of the whole.
    pub fn decode(raw: &pb::HttpRoute) -> Result<Decoded, ConfigError> {
        let mut errors = Vec::new();
        let kind = if raw.grpc { "GRPCRoute/" } else { "" };
        let name = format!("{kind}{}/{}", raw.namespace, raw.name);
        let rules = raw
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                Arc::new(Rule::decode(rule, (&name, index)).unwrap_or_else(|error| {
                    let error = error.within(&format!("rules[{index}]"));
                    errors.push(error.clone());
                    Rule::broken(rule, error.to_string())
                }))
            })
            .collect();
        let route = Self {
            name: name.into(),
            namespace: raw.namespace.as_str().into(),
            created: raw.created.clone(),
            consumed: decode_all("consumed", &raw.consumed, ServiceRef::decode)?,
            parents: decode_all("parents", &raw.parents, ServiceRef::decode)?,
            listeners: decode_all("listeners", &raw.listeners, Attachment::decode)?,
            hostnames: decode_all("hostnames", &raw.hostnames, |name| Hostname::decode(name))?,
            rules,
        };
        Ok(Decoded { route, errors })
    }
}

impl Hostname {
    /// Decodes a host name; `*.` at its beginning stands for one label or more.
    pub fn decode(raw: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("hostname", format!("`{raw}` is not a host name"));
        let (wildcard, name) = match raw.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, raw),
        };
        let host = Host::parse(name.as_bytes()).map_err(|_| wrong())?;
        if host.port().is_some() {
            return Err(wrong());
        }
        Ok(if wildcard {
            Self::Wildcard(format!(".{}", host.name()).into())
        } else {
            Self::Exact(host.name().into())
        })
    }

    /// The same where a wildcard stands for one label exactly.
    pub fn of_one_label(self) -> Self {
        match self {
            Self::Wildcard(suffix) => Self::Label(suffix),
            other => other,
        }
    }
}

impl Rule {
    /// Decodes the rule that is at this place of its route.
    fn decode(raw: &pb::HttpRule, place: (&str, usize)) -> Result<Self, ConfigError> {
        let mut matches = decode_all("matches", &raw.matches, Match::decode)?;
        if matches.is_empty() {
            matches.push(Match::default());
        }
        let rule = Self {
            name: raw.name.clone(),
            matches,
            filters: Filters::shared(&raw.filters)?,
            backends: decode_all("backends", &raw.backends, Backend::decode)?,
            request_timeout: duration("request_timeout", raw.request_timeout.as_ref())?,
            backend_timeout: duration(
                "backend_request_timeout",
                raw.backend_request_timeout.as_ref(),
            )?,
            retry: raw
                .retry
                .as_ref()
                .map(|retry| Retry::decode(retry).map(Arc::new))
                .transpose()
                .map_err(|error| error.within("retry"))?,
            persistence: Persistence::of_rule(raw, place)
                .map_err(|error| error.within("session_persistence"))?,
        };
        let replaces = rule.filters.replaces_prefix()
            || rule.backends.iter().any(|b| b.filters.replaces_prefix());
        if replaces && rule.matches.iter().any(|one| one.prefix().is_none()) {
            return Err(ConfigError::new(
                "filters",
                "a prefix is replaced but not every match names one",
            ));
        }
        Ok(rule)
    }

    /// A rule that answers 500 for whatever of its matches can be read, for everything otherwise.
    fn broken(raw: &pb::HttpRule, reason: String) -> Self {
        let matches = decode_all("matches", &raw.matches, Match::decode).unwrap_or_default();
        let matches = if matches.is_empty() {
            vec![Match::default()]
        } else {
            matches
        };
        let filters = Filters {
            unresolved: Some(reason),
            ..Filters::default()
        };
        Self {
            name: raw.name.clone(),
            matches,
            filters: Arc::new(filters),
            ..Self::default()
        }
    }
}

impl Backend {
    pub(super) fn decode(raw: &pb::HttpBackend) -> Result<Self, ConfigError> {
        use pb::http_backend::Target;
        let target = match &raw.target {
            Some(Target::Service(service)) => {
                let service = ServiceRef::decode(service)?;
                if service.port == 0 {
                    return Err(ConfigError::new("port", "a backend needs one port"));
                }
                Ok(service)
            }
            Some(Target::Unresolved(reason)) => Err(reason.clone()),
            None => return Err(ConfigError::new("target", "names no target")),
        };
        let filters = Filters::shared(&raw.filters)?;
        if filters.redirect.is_some() {
            return Err(ConfigError::new(
                "filters",
                "a redirect belongs to the rule, not to a backend",
            ));
        }
        if filters.cors.is_some() {
            return Err(ConfigError::new(
                "filters",
                "what other origins may do belongs to the rule, not to a backend",
            ));
        }
        Ok(Self {
            target,
            weight: raw.weight,
            filters,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: pb::path_match::Kind) -> pb::HttpMatch {
        pb::HttpMatch {
            path: Some(pb::PathMatch { kind: Some(kind) }),
            ..Default::default()
        }
    }

    fn backend(service: &str, port: u32) -> pb::HttpBackend {
        let target = pb::http_backend::Target::Service(pb::ServiceRef {
            service: service.into(),
            port,
        });
        pb::HttpBackend {
            target: Some(target),
            weight: 1,
            filters: Vec::new(),
        }
    }

    #[test]
    fn a_wrong_rule_answers_500_where_it_would_have_matched() {
        let good = pb::HttpRule {
            backends: vec![backend("demo/web", 80)],
            ..Default::default()
        };
        let bad = pb::HttpRule {
            matches: vec![path(pb::path_match::Kind::Prefix("/a".into()))],
            backends: vec![backend("demo/web", 0)],
            ..Default::default()
        };
        let raw = pb::HttpRoute {
            rules: vec![good, bad],
            ..Default::default()
        };
        let Decoded { route, errors } = Route::decode(&raw).unwrap();
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].to_string(),
            "rules[1].backends[0].port: a backend needs one port"
        );
        assert_eq!(route.rules[0].filters.unresolved, None);
        assert_eq!(
            route.rules[1].filters.unresolved,
            Some(errors[0].to_string())
        );
        assert_eq!(route.rules[1].matches[0].prefix(), Some("/a"));
    }

    #[test]
    fn an_unreadable_match_breaks_everything_its_rule_could_mean() {
        let bad = pb::HttpRule {
            matches: vec![path(pb::path_match::Kind::Regex("(".into()))],
            ..Default::default()
        };
        let decoded = Route::decode(&pb::HttpRoute {
            rules: vec![bad],
            ..Default::default()
        })
        .unwrap();
        assert_eq!(decoded.route.rules[0].matches[0].prefix(), Some(""));
        assert!(decoded.route.rules[0].filters.unresolved.is_some());
    }

    #[test]
    fn replacing_a_prefix_needs_one() {
        let change = pb::PathChange {
            kind: Some(pb::path_change::Kind::Prefix("/x".into())),
        };
        let rewrite = pb::Rewrite {
            path: Some(change),
            ..Default::default()
        };
        let filters = vec![pb::HttpFilter {
            kind: Some(pb::http_filter::Kind::Rewrite(rewrite)),
        }];
        let matches = vec![path(pb::path_match::Kind::Exact("/a".into()))];
        let rule = pb::HttpRule {
            matches,
            filters,
            ..Default::default()
        };
        assert!(
            Rule::decode(&rule, ("d/r", 0))
                .unwrap_err()
                .to_string()
                .starts_with("filters: a prefix is replaced")
        );
    }

    #[test]
    fn hostnames_are_canonical() {
        assert_eq!(
            Hostname::decode("Web.Demo").unwrap(),
            Hostname::Exact("web.demo".into())
        );
        assert_eq!(
            Hostname::decode("*.Example.com").unwrap(),
            Hostname::Wildcard(".example.com".into())
        );
        assert!(Hostname::decode("*").is_err() && Hostname::decode("a:80").is_err());
    }
}
