//! One FaultPolicy, and what it does to a request.
//!
//! Invariant: a fault strikes only requests that every selector of its policy names.

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;
use http::{HeaderMap, StatusCode};
use rand::Rng;

use super::matcher::HeaderMatch;
use super::{ConfigError, PerTenThousand, ServiceRef, decode_all, duration};

/// The longest delay that is accepted.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Faults for the traffic of services and routes.
#[derive(Debug)]
pub struct FaultPolicy {
    /// `NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// Services that it is for.
    pub services: Vec<ServiceRef>,
    /// Routes that it is for, `NAMESPACE/NAME`.
    pub routes: Vec<String>,
    delay: Option<(Duration, PerTenThousand)>,
    abort: Option<(Abort, PerTenThousand)>,
    headers: Vec<HeaderMatch>,
    principals: Vec<String>,
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
            .map(decode_delay)
            .transpose()
            .map_err(|error| error.within("delay"))?;
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
        })
    }

    /// Rolls the dice for a request of `principal` (without scheme) with these headers. A client without identity is none
    /// of those that a policy names.
    pub fn roll(&self, headers: &HeaderMap, principal: Option<&str>, rng: &mut impl Rng) -> Fault {
        let called_by = self.principals.is_empty()
            || principal.is_some_and(|it| self.principals.iter().any(|name| name == it));
        if !called_by || !self.headers.iter().all(|header| header.matches(headers)) {
            return Fault::default();
        }
        let mut hit = |share: PerTenThousand| rng.random_range(0..10_000) < share.get();
        Fault {
            delay: self
                .delay
                .filter(|(_, share)| hit(*share))
                .map(|(delay, _)| delay),
            abort: self
                .abort
                .filter(|(_, share)| hit(*share))
                .map(|(abort, _)| abort),
        }
    }
}

impl Fault {
    /// Keeps what is there and takes the rest from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            abort: self.abort.or(other.abort),
        }
    }

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

fn decode_delay(raw: &pb::FaultDelay) -> Result<(Duration, PerTenThousand), ConfigError> {
    match duration("fixed", raw.fixed.as_ref())? {
        Some(delay) if delay <= MAX_DELAY => {
            Ok((delay, PerTenThousand::new(raw.per_ten_thousand)?))
        }
        Some(_) => Err(ConfigError::new("fixed", "is more than 1 h")),
        None => Err(ConfigError::new("fixed", "is missing")),
    }
}

fn decode_abort(raw: &pb::FaultAbort) -> Result<(Abort, PerTenThousand), ConfigError> {
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
    Ok((
        Abort { status, grpc },
        PerTenThousand::new(raw.per_ten_thousand)?,
    ))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn policy(delay: u32, abort: u32) -> pb::FaultPolicy {
        pb::FaultPolicy {
            delay: Some(pb::FaultDelay {
                fixed: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
                per_ten_thousand: delay,
            }),
            abort: Some(pb::FaultAbort {
                http_status: 503,
                per_ten_thousand: abort,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn selectors_must_all_match() {
        let kind = Some(pb::value_match::Kind::Exact("yes".into()));
        let mut raw = policy(10_000, 10_000);
        raw.headers = vec![pb::ValueMatch {
            name: "x-chaos".into(),
            kind,
        }];
        raw.principals = vec!["cluster.local/ns/demo/sa/curl".into()];
        let policy = FaultPolicy::decode(&raw).unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let marked =
            HeaderMap::from_iter([("x-chaos".parse().unwrap(), HeaderValue::from_static("yes"))]);
        let curl = "cluster.local/ns/demo/sa/curl";
        assert_eq!(
            policy.roll(&marked, Some(curl), &mut rng).label(),
            Some("delay,abort")
        );
        assert_eq!(
            policy
                .roll(&marked, Some("cluster.local/ns/demo/sa/curl2"), &mut rng)
                .label(),
            None
        );
        assert_eq!(
            policy.roll(&marked, None, &mut rng).label(),
            None,
            "nobody is none of those that are named"
        );
        assert_eq!(
            policy.roll(&HeaderMap::new(), Some(curl), &mut rng).label(),
            None
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |change: fn(&mut pb::FaultPolicy)| {
            let mut raw = policy(1, 1);
            change(&mut raw);
            FaultPolicy::decode(&raw).unwrap_err().to_string()
        };
        assert_eq!(
            refused(|raw| raw.delay = Some(pb::FaultDelay::default())),
            "delay.fixed: is missing"
        );
        assert_eq!(
            refused(|raw| raw.abort = Some(pb::FaultAbort::default())),
            "abort.http_status: 0 is not from 200 to 599"
        );
        assert_eq!(
            refused(|raw| raw.principals = vec!["spiffe://a/b".into()]),
            "principals[0].principal: `spiffe://a/b` is not a name without scheme"
        );
        assert_eq!(
            refused(|raw| raw.abort.as_mut().unwrap().per_ten_thousand = 10_001),
            "abort.per_ten_thousand: 10001 is more than 10000"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn shares_are_kept(seed: u64, delay in 0u32..=10_000, abort in 0u32..=10_000) {
            let policy = FaultPolicy::decode(&policy(delay, abort)).unwrap();
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut delayed, mut aborted) = (0i64, 0i64);
            for _ in 0..10_000 {
                let fault = policy.roll(&HeaderMap::new(), None, &mut rng);
                delayed += i64::from(fault.delay.is_some());
                aborted += i64::from(fault.abort.is_some());
            }
            // Six standard deviations of the widest binomial.
            prop_assert!((delayed - i64::from(delay)).abs() <= 300);
            prop_assert!((aborted - i64::from(abort)).abs() <= 300);
        }
    }
}
