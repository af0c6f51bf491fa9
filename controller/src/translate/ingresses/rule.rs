//! One path of a host, as the gateway has it.

use culvert_proto::waypoint::{
    HttpBackend, HttpFilter, HttpMatch, HttpRule, PathMatch, Redirect, http_backend::Target,
    http_filter, path_match,
};

use crate::model::{IngressPath, PathType};

/// How a client in plain text is sent elsewhere; the method stays.
const MOVED: u32 = 308;

/// What a path matches.
pub(super) fn kind(path: &IngressPath) -> path_match::Kind {
    match path.kind {
        PathType::Exact => path_match::Kind::Exact(path.path.clone()),
        PathType::Prefix | PathType::ImplementationSpecific => {
            path_match::Kind::Prefix(path.path.clone())
        }
    }
}

/// Requests that match go there.
pub(super) fn rule(path: path_match::Kind, target: Target) -> HttpRule {
    HttpRule {
        matches: vec![HttpMatch {
            path: Some(PathMatch { kind: Some(path) }),
            ..HttpMatch::default()
        }],
        backends: vec![HttpBackend {
            target: Some(target),
            weight: 1,
            filters: Vec::new(),
        }],
        ..HttpRule::default()
    }
}

/// The same requests, sent to HTTPS.
pub(super) fn redirecting(rule: &HttpRule) -> HttpRule {
    let redirect = Redirect {
        scheme: "https".into(),
        status: MOVED,
        ..Redirect::default()
    };
    HttpRule {
        matches: rule.matches.clone(),
        filters: vec![HttpFilter {
            kind: Some(http_filter::Kind::Redirect(redirect)),
        }],
        ..HttpRule::default()
    }
}
