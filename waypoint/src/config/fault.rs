//! One FaultPolicy, and what it does to a request.
//!
//! Invariants: a fault strikes only requests that every selector of its policy names, and none once the policy is over;
//! whoever is delayed when it ends goes on then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_policy::fault::{Delay, Share, Term};
use culvert_proto::waypoint as pb;
use culvert_xds::fault as wire;
use culvert_xds::state::Invalid;
use http::{HeaderMap, StatusCode};
use rand::Rng;

use super::matcher::HeaderMatch;
use super::{ConfigError, ServiceRef, decode_all};

/// Faults for the traffic of services and routes.
#[derive(Debug)]
pub struct FaultPolicy {
    /// `NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// Services that it is for.
    pub services: Vec<ServiceRef>,
    /// Routes that it is for, `NAMESPACE/NAME`.
    pub routes: Vec<String>,
    delay: Option<(Delay, Share)>,
    abort: Option<(Abort, Share)>,
    headers: Vec<HeaderMatch>,
    principals: Vec<String>,
    term: Option<Term>,
}

/// An answer in place of the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// For HTTP requests.
    pub status: StatusCode,
    /// For gRPC requests.
    pub grpc: Option<u32>,
}

/// What strikes one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// Wait so long.
    pub delay: Option<Duration>,
    /// Then answer this.
    pub abort: Option<Abort>,
}

impl FaultPolicy {
    /// Decodes a policy.
    pub fn decode(raw: &pb::FaultPolicy) -> Result<Self, ConfigError> {
        let delay = raw
            .delay
            .as_ref()
            .map(wire::delay)
            .transpose()
            .map_err(|error| config_error(error).within("delay"))?;
        let abort = raw
            .abort
            .as_ref()
            .map(decode_abort)
            .transpose()
            .map_err(|error| error.within("abort"))?;
        let plain = |principal: &String| match principal.split_once("://") {
            None if !principal.is_empty() => Ok(principal.clone()),
            _ => Err(ConfigError::new(
                "principal",
                format!("`{principal}` is not a name without scheme"),
            )),
        };
        Ok(Self {
            name: format!("{}/{}", raw.namespace, raw.name).into(),
            services: decode_all("targets", &raw.targets, ServiceRef::decode)?,
            routes: raw.route_targets.clone(),
            delay,
            abort,
            headers: decode_all("headers", &raw.headers, HeaderMatch::decode)?,
            principals: decode_all("principals", &raw.principals, plain)?,
            term: raw
                .term
                .as_ref()
                .map(wire::term)
                .transpose()
                .map_err(|error| config_error(error).within("term"))?,
        })
    }

    /// The same policy, which was known as `before`: a change of it does not begin its term anew.
    #[must_use]
    pub fn following(self, before: Option<&Self>) -> Self {
        let known = before.and_then(|before| before.term);
        Self {
            term: self.term.map(|term| term.following(known)),
            ..self
        }
    }

    /// How much of its term is left; none if it has none.
    pub fn left(&self) -> Option<Duration> {
        let term = self.term?;
        Some(term.left(Instant::now()).unwrap_or_default())
    }

    /// Rolls the dice for a request of `principal` (without scheme) with these headers. A client without identity is none
    /// of those that a policy names.
    pub fn roll(&self, headers: &HeaderMap, principal: Option<&str>, rng: &mut impl Rng) -> Fault {
        let called_by = self.principals.is_empty()
            || principal.is_some_and(|it| self.principals.iter().any(|name| name == it));
        if !called_by || !self.headers.iter().all(|header| header.matches(headers)) {
            return Fault::default();
        }
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return Fault::default();
        }
        let delay = self.delay.filter(|(_, share)| share.strikes(rng.random()));
        let delay = delay.map(|(delay, _)| delay.draw(|| rng.random()));
        let abort = self.abort.filter(|(_, share)| share.strikes(rng.random()));
        Fault {
            delay: delay.map(|delay| left.map_or(delay, |left| delay.min(left))),
            abort: abort.map(|(abort, _)| abort),
        }
    }
}

impl Fault {
    /// The value of the `culvert-fault` response header, if anything strikes.
    pub fn label(self) -> Option<&'static str> {
        match (self.delay, self.abort) {
            (None, None) => None,
            (Some(_), None) => Some("delay"),
            (None, Some(_)) => Some("abort"),
            (Some(_), Some(_)) => Some("delay,abort"),
        }
    }
}

fn config_error(error: Invalid) -> ConfigError {
    ConfigError::new(error.field, error.problem)
}

fn decode_abort(raw: &pb::FaultAbort) -> Result<(Abort, Share), ConfigError> {
    let grpc = raw.has_grpc_status.then_some(raw.grpc_status);
    if grpc.is_some_and(|grpc| grpc > 16) {
        return Err(ConfigError::new(
            "grpc_status",
            format!("{} is not from 0 to 16", raw.grpc_status),
        ));
    }
    let status = match raw.http_status {
        0 if grpc.is_some() => StatusCode::SERVICE_UNAVAILABLE,
        code => u16::try_from(code)
            .ok()
            .filter(|code| (200..600).contains(code))
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or_else(|| {
                ConfigError::new("http_status", format!("{code} is not from 200 to 599"))
            })?,
    };
    let share = wire::share(raw.per_ten_thousand).map_err(config_error)?;
    Ok((Abort { status, grpc }, share))
}

#[cfg(test)]
mod tests;
