//! Sessions: a client is told at which endpoint its session is, and says so with its next request.
//!
//! Invariants: a token holds hashes of names, and times; no address. Every waypoint that has the configuration can read
//! it, without knowing of the session. It is worth no more than a wish: only an endpoint that the rule may pick is picked
//! for it, so that who makes one up gets what anybody may have.

use std::time::Duration;

use http::{HeaderMap, header::HeaderValue, header::SET_COOKIE};

use super::affinity::{cookie, set_cookie};
use crate::config::ServiceRef;
use crate::config::persistence::{Carrier, Persistence};
use crate::upstream::hash;

/// The first byte of a token, which says how to read the rest.
const VERSION: &str = "1";
const LENGTH: usize = 1 + 8 + 16 + 8 + 8;

/// What a client says of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// The hash of the backend's name.
    pub backend: u32,
    /// The hash of the endpoint's name.
    pub endpoint: u64,
    /// When the session began: seconds since 1970.
    began: u32,
    /// When the client was last told.
    told: u32,
}

/// A request's session, and how its client is told.
#[derive(Debug)]
pub(crate) struct Marker<'a> {
    persistence: &'a Persistence,
    token: Option<Token>,
    backend: u32,
}

/// The name of a backend in tokens.
pub(super) fn backend(target: &ServiceRef) -> u32 {
    let service = hash::of(target.service.as_bytes());
    let [a, b, c, d, ..] = hash::more(service, &target.port.to_be_bytes()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Token {
    /// What the request says of its session, unless that is over.
    pub(super) fn read(persistence: &Persistence, headers: &HeaderMap, now: u32) -> Option<Self> {
        let text = match &persistence.carrier {
            Carrier::Header(name) => headers.get(name)?.as_bytes(),
            Carrier::Cookie { name, .. } => cookie(headers, name)?,
        };
        let token = Self::parse(std::str::from_utf8(text).ok()?)?;
        let lasts = |since: u32, time: Option<Duration>| {
            // A clock may be a little behind another waypoint's.
            time.is_none_or(|time| u64::from(now.saturating_sub(since)) < time.as_secs().max(1))
        };
        let live = lasts(token.began, persistence.absolute) && lasts(token.told, persistence.idle);
        live.then_some(token)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(VERSION)?;
        if text.len() != LENGTH || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let word = |at: usize| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok();
        Some(Self {
            backend: word(0)?,
            endpoint: u64::from_str_radix(digits.get(8..24)?, 16).ok()?,
            began: word(24)?,
            told: word(32)?,
        })
    }

    fn text(&self) -> String {
        format!(
            "{VERSION}{:08x}{:016x}{:08x}{:08x}",
            self.backend, self.endpoint, self.began, self.told
        )
    }
}

impl<'a> Marker<'a> {
    /// Of a request that goes to `backend`; a token for another backend is not of this session.
    pub(super) fn new(persistence: &'a Persistence, token: Option<Token>, backend: u32) -> Self {
        Self {
            persistence,
            token: token.filter(|token| token.backend == backend),
            backend,
        }
    }

    /// The hash of the endpoint that the session is at.
    pub(super) fn endpoint(&self) -> Option<u64> {
        self.token.map(|token| token.endpoint)
    }

    /// Tells the client where its session is, if it does not know yet or has to say that it is still there.
    pub(super) fn mark(&self, headers: &mut HeaderMap, endpoint: u64, now: u32) {
        let known = self.token.filter(|token| token.endpoint == endpoint);
        let idle = self.persistence.idle.is_some();
        if known.is_some_and(|token| !idle || token.told == now) {
            return;
        }
        let token = Token {
            backend: self.backend,
            endpoint,
            began: known.map_or(now, |token| token.began),
            told: now,
        };
        match &self.persistence.carrier {
            Carrier::Header(name) => {
                if let Ok(value) = HeaderValue::try_from(token.text()) {
                    headers.insert(name, value);
                }
            }
            Carrier::Cookie { name, path } => {
                let lasts = self
                    .persistence
                    .absolute
                    .filter(|_| self.persistence.permanent);
                let past = u64::from(now.saturating_sub(token.began));
                let age = lasts.map(|lasts| lasts.as_secs().saturating_sub(past).max(1));
                if let Some(cookie) = set_cookie(name, &token.text(), path, age) {
                    headers.append(SET_COOKIE, cookie);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
