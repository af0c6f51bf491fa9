//! `GRPCRoute` of the Gateway API.
//!
//! A method is a path of HTTP/2, so that a route of gRPC is served as the route of HTTP that it stands for.

use serde::{Deserialize, Serialize};

use super::{
    BackendRef, Filter, HttpRouteSpec, MatchType, ParentRef, PathMatch, PathMatchType, RouteMatch,
    RouteRule, SessionPersistence, Unused, ValueMatch,
};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteSpec {
    /// What it is attached to.
    pub parent_refs: Vec<ParentRef>,
    /// Empty: every host.
    pub hostnames: Vec<String>,
    /// The most specific match counts.
    pub rules: Vec<GrpcRule>,
    /// Not read.
    pub use_default_gateways: Unused,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRule {
    /// For policies to name it.
    pub name: Option<String>,
    /// Any must match; empty: every call.
    pub matches: Vec<GrpcMatch>,
    /// What is changed.
    pub filters: Vec<Filter>,
    /// Where calls go.
    pub backend_refs: Vec<BackendRef>,
    /// Where its sessions are.
    pub session_persistence: Option<SessionPersistence>,
}

/// Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcMatch {
    /// Of the service and its method.
    pub method: Option<MethodMatch>,
    /// All must match.
    pub headers: Vec<ValueMatch>,
}

/// A match of a service and its method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodMatch {
    /// How.
    #[serde(rename = "type")]
    pub kind: MatchType,
    /// With its package. Left out: every service.
    pub service: Option<String>,
    /// Left out: every method.
    pub method: Option<String>,
}

impl MethodMatch {
    /// The path of such calls: `/SERVICE/METHOD`.
    #[must_use]
    pub fn path(&self) -> PathMatch {
        const ANY: &str = "[^/]+";
        let (service, method) = (self.service.as_deref(), self.method.as_deref());
        let (kind, value) = match (self.kind, service, method) {
            (MatchType::Exact, Some(service), Some(method)) => {
                (PathMatchType::Exact, format!("/{service}/{method}"))
            }
            (MatchType::Exact, Some(service), None) => {
                (PathMatchType::PathPrefix, format!("/{service}"))
            }
            (MatchType::Exact, None, Some(method)) => {
                let method = regex::escape(method);
                (PathMatchType::RegularExpression, format!("/{ANY}/{method}"))
            }
            (MatchType::RegularExpression, service, method) => {
                let (service, method) = (service.unwrap_or(ANY), method.unwrap_or(ANY));
                let value = format!("/(?:{service})/(?:{method})");
                (PathMatchType::RegularExpression, value)
            }
            (MatchType::Exact, None, None) => (PathMatchType::PathPrefix, "/".into()),
        };
        PathMatch { kind, value }
    }
}

impl GrpcRule {
    /// The rule of HTTP that does the same.
    #[must_use]
    pub fn as_http(&self) -> RouteRule {
        let one_match = |m: &GrpcMatch| RouteMatch {
            path: m.method.as_ref().map(MethodMatch::path),
            headers: m.headers.clone(),
            ..RouteMatch::default()
        };
        RouteRule {
            name: self.name.clone(),
            matches: self.matches.iter().map(one_match).collect(),
            filters: self.filters.clone(),
            backend_refs: self.backend_refs.clone(),
            session_persistence: self.session_persistence.clone(),
            ..RouteRule::default()
        }
    }
}

impl GrpcRouteSpec {
    /// The route of HTTP that does the same.
    #[must_use]
    pub fn as_http(&self) -> HttpRouteSpec {
        HttpRouteSpec {
            parent_refs: self.parent_refs.clone(),
            hostnames: self.hostnames.clone(),
            rules: self.rules.iter().map(GrpcRule::as_http).collect(),
            ..HttpRouteSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_path() {
        let exact = MatchType::Exact;
        let pattern = MatchType::RegularExpression;
        for (kind, service, method, expected, value) in [
            (
                exact,
                Some("a.B"),
                Some("C"),
                PathMatchType::Exact,
                "/a.B/C",
            ),
            (exact, Some("a.B"), None, PathMatchType::PathPrefix, "/a.B"),
            (
                exact,
                None,
                Some("C"),
                PathMatchType::RegularExpression,
                "/[^/]+/C",
            ),
            (exact, None, None, PathMatchType::PathPrefix, "/"),
            (
                pattern,
                Some("a|b"),
                None,
                PathMatchType::RegularExpression,
                "/(?:a|b)/(?:[^/]+)",
            ),
        ] {
            let (service, method) = (service.map(String::from), method.map(String::from));
            let path = MethodMatch {
                kind,
                service,
                method,
            }
            .path();
            assert_eq!((path.kind, path.value.as_str()), (expected, value));
        }
    }
}
