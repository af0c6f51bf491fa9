//! Which endpoint a request belongs to: by a key that it has in common with others, or by its session.
//!
//! Invariant: what a client says only ever chooses among the endpoints that the rule could send it to anyway.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use super::decode::Decoded;
use super::normalise::Target;
use super::session::{self, Marker, Token};
use crate::client::Client;
use crate::config::ServiceRef;
use crate::config::matcher::query_value;
use crate::config::persistence::Persistence;
use crate::config::resilience::HashKey;
use crate::config::traffic::Balancer;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::hash;

/// What a request says of its endpoint, and what its client is to be told.
#[derive(Debug, Default)]
pub(crate) struct Affinity<'a> {
    /// The hash of its key.
    pub key: Option<u64>,
    /// A cookie that was made for a key.
    cookie: Option<HeaderValue>,
    /// Its session.
    pub session: Option<Marker<'a>>,
}

impl<'a> Affinity<'a> {
    /// Of a request to a backend whose rule has sessions; `token` is what the client says of its own.
    pub(super) fn of_session(
        persistence: &'a Persistence,
        token: Option<Token>,
        target: &ServiceRef,
    ) -> Self {
        let backend = session::backend(target);
        Self {
            session: Some(Marker::new(persistence, token, backend)),
            ..Self::default()
        }
    }

    /// Finds the request's key, if endpoints are picked by one.
    pub(super) fn find_key(
        &mut self,
        balancer: &Balancer,
        client: &Client,
        decoded: &Decoded,
        target: Target<'_>,
    ) {
        let Balancer::ConsistentHash(policy) = balancer else {
            return;
        };
        let headers = &decoded.parts.headers;
        self.key = match &policy.key {
            HashKey::Source => Some(of_source(client)),
            HashKey::Header(name) => {
                let lines = headers.get_all(name).iter();
                lines.fold(None, |before, line| {
                    Some(match before {
                        None => hash::of(line.as_bytes()),
                        Some(before) => hash::more(before, line.as_bytes()),
                    })
                })
            }
            HashKey::Query(name) => query_value(target.query, name).map(|value| hash::of(&value)),
            HashKey::Cookie { name, ttl, path } => match cookie(headers, name) {
                Some(value) => Some(hash::of(value)),
                None => {
                    let value = format!("{:032x}", rand::random::<u128>());
                    let age = Some(ttl.as_secs()).filter(|_| !ttl.is_zero());
                    self.cookie = set_cookie(name, &value, path, age);
                    Some(hash::of(value.as_bytes()))
                }
            },
        };
    }

    /// Tells the client what it needs to know so that its next request goes to `endpoint` as well.
    pub(super) fn mark(&self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        if let Some(cookie) = &self.cookie {
            headers.append(SET_COOKIE, cookie.clone());
        }
        if let Some(session) = &self.session {
            session.mark(headers, endpoint.hash(), now());
        }
    }
}

/// The key of a connection, where clients have one.
pub(crate) fn of_connection(balancer: &Balancer, client: &Client) -> Option<u64> {
    match balancer {
        Balancer::ConsistentHash(policy) if policy.key == HashKey::Source => {
            Some(of_source(client))
        }
        _ => None,
    }
}

fn of_source(client: &Client) -> u64 {
    let identity = hash::of(client.id().as_bytes());
    match client.address {
        std::net::IpAddr::V4(ip) => hash::more(identity, &ip.octets()),
        std::net::IpAddr::V6(ip) => hash::more(identity, &ip.octets()),
    }
}

/// The value of the first cookie of this name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    let all = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    all.map(<[u8]>::trim_ascii)
        .filter_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .next()
}

/// A cookie that scripts don't see, for so many seconds, or until the browser's session ends.
pub(super) fn set_cookie(
    name: &str,
    value: &str,
    path: &str,
    age: Option<u64>,
) -> Option<HeaderValue> {
    let age = age
        .map(|age| format!("; Max-Age={age}"))
        .unwrap_or_default();
    let path = if path.is_empty() {
        String::new()
    } else {
        format!("; Path={path}")
    };
    // Names and paths were found good when they were configured.
    HeaderValue::try_from(format!("{name}={value}{age}{path}; HttpOnly")).ok()
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    })
}
