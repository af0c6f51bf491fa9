//! How a rule, or a policy of a backend, keeps the requests of a session at one endpoint.

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;
use http::HeaderName;

use super::resilience::{cookie_name, cookie_path};
use super::{ConfigError, duration};
use crate::upstream::hash;

/// Session persistence of a rule, or of a backend.
#[derive(Debug, PartialEq)]
pub struct Persistence {
    /// Where a client keeps what it was told.
    pub carrier: Carrier,
    /// How long a session lasts.
    pub absolute: Option<Duration>,
    /// How long it lasts without a request.
    pub idle: Option<Duration>,
    /// A cookie is to be kept beyond the browser's session.
    pub permanent: bool,
}

/// Where a client keeps what it was told.
#[derive(Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In a header, which it sends as it got it.
    Header(HeaderName),
    /// In a cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// For which paths: that of the rule if there is one.
        path: Box<str>,
    },
}

impl Persistence {
    /// Of the rule with this index in `route`.
    pub(super) fn of_rule(
        raw: &pb::HttpRule,
        (route, index): (&str, usize),
    ) -> Result<Option<Arc<Self>>, ConfigError> {
        let session = raw.session_persistence.as_ref();
        let decoded =
            session.map(|session| Self::decode(session, &format!("{route}/{index}"), path(raw)));
        decoded.transpose()
    }

    /// Of what has this name, for a path.
    pub(super) fn decode(
        session: &pb::SessionPersistence,
        owner: &str,
        path: &str,
    ) -> Result<Arc<Self>, ConfigError> {
        let given = &session.session_name;
        let name = if given.is_empty() {
            // Rules must not take each other's sessions for their own, nor must backends.
            let owner = hash::of(owner.as_bytes());
            format!("culvert-session-{owner:016x}")
        } else {
            given.clone()
        };
        let carrier = if session.header {
            let name = HeaderName::try_from(name);
            Carrier::Header(name.map_err(|e| ConfigError::new("session_name", e.to_string()))?)
        } else {
            Carrier::Cookie {
                name: cookie_name(&name)?.into(),
                path: path.into(),
            }
        };
        let persistence = Self {
            carrier,
            absolute: some("absolute_timeout", session.absolute_timeout.as_ref())?,
            idle: some("idle_timeout", session.idle_timeout.as_ref())?,
            permanent: session.permanent,
        };
        if persistence.permanent && persistence.absolute.is_none() {
            let message = "is needed for a permanent cookie";
            return Err(ConfigError::new("absolute_timeout", message));
        }
        Ok(Arc::new(persistence))
    }
}

/// The path of the rule's only match, or all.
fn path(raw: &pb::HttpRule) -> &str {
    use pb::path_match::Kind;
    let [only] = &raw.matches[..] else { return "/" };
    match only.path.as_ref().and_then(|path| path.kind.as_ref()) {
        Some(Kind::Exact(path) | Kind::Prefix(path)) => {
            Some(&**path).filter(|path| cookie_path(path).is_ok() && !path.is_empty())
        }
        _ => None,
    }
    .unwrap_or("/")
}

/// Zero is none.
fn some(field: &str, raw: Option<&prost_types::Duration>) -> Result<Option<Duration>, ConfigError> {
    Ok(duration(field, raw)?.filter(|duration| !duration.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::matcher::Match;

    fn decode(session: pb::SessionPersistence, paths: &[&str]) -> Result<Persistence, ConfigError> {
        let one = |path: &&str| pb::HttpMatch {
            path: Some(pb::PathMatch {
                kind: Some(pb::path_match::Kind::Prefix((*path).into())),
            }),
            ..Default::default()
        };
        let raw = pb::HttpRule {
            matches: paths.iter().map(one).collect(),
            session_persistence: Some(session),
            ..Default::default()
        };
        assert!(raw.matches.iter().all(|raw| Match::decode(raw).is_ok()));
        let decoded = Persistence::of_rule(&raw, ("d/r", 0))?.unwrap();
        Ok(Arc::into_inner(decoded).unwrap())
    }

    #[test]
    fn a_cookie_is_for_the_rules_own_path() {
        let path = |paths: &[&str]| match decode(pb::SessionPersistence::default(), paths) {
            Ok(Persistence {
                carrier: Carrier::Cookie { path, .. },
                ..
            }) => path.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(path(&["/cart"]), "/cart");
        assert_eq!(path(&["/cart", "/pay"]), "/");
        assert_eq!(path(&["/a;b"]), "/", "which no cookie can say");
        assert_eq!(path(&[]), "/");
    }

    #[test]
    fn names_are_those_of_headers_and_cookies() {
        let named = |header, name: &str| {
            let session = pb::SessionPersistence {
                header,
                session_name: name.into(),
                ..Default::default()
            };
            decode(session, &[]).map(|decoded| decoded.carrier)
        };
        assert_eq!(
            named(true, "X-Session").unwrap(),
            Carrier::Header(HeaderName::from_static("x-session"))
        );
        assert!(named(true, "a b").is_err() && named(false, "a=b").is_err());
        assert!(named(false, "").is_ok());
    }
}
