//! When a failed try is worth another one, and how long to wait before it.
//!
//! Invariant: the number of tries and the wait before each are bounded whatever the user writes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use culvert_proto::waypoint as pb;
use rand::Rng;

use super::{ConfigError, duration};

/// Most tries after the first.
const MAX_ATTEMPTS: u32 = 100;
/// The first wait where the user names none.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);
/// The longest wait without its jitter, as a multiple of the first.
const MAX_BACKOFF_FACTOR: u32 = 10;

/// How a try ended, as far as retries care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No connection: the request was not sent.
    ConnectFailure,
    /// The connection ended before a response.
    Reset,
    /// No response in time.
    PerTryTimeout,
    /// A response with this status, and gRPC status if its headers hold one.
    Response(u16, Option<u32>),
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first.
    pub attempts: u32,
    /// Bound of one try, up to its response headers.
    pub per_try_timeout: Option<Duration>,
    codes: Vec<u16>,
    on: Conditions,
    grpc: Vec<u32>,
    backoff: Duration,
}

/// Named conditions. A connection failure is always tried again, because nothing was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Conditions {
    reset: bool,
    server_error: bool,
    gateway_error: bool,
    retriable_4xx: bool,
    per_try_timeout: bool,
}

impl Retry {
    /// What happens where nobody asks for retries: a connection failure goes to another endpoint, twice at most.
    pub fn connect_failures() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Retry>> = LazyLock::new(|| {
            Arc::new(Retry {
                attempts: 2,
                per_try_timeout: None,
                codes: Vec::new(),
                on: Conditions::default(),
                grpc: Vec::new(),
                backoff: DEFAULT_BACKOFF,
            })
        });
        Arc::clone(&DEFAULT)
    }

    /// Decodes the user's wish.
    pub fn decode(raw: &pb::Retry) -> Result<Self, ConfigError> {
        if raw.attempts > MAX_ATTEMPTS {
            return Err(ConfigError::new(
                "attempts",
                format!("{} is more than {MAX_ATTEMPTS}", raw.attempts),
            ));
        }
        let code = |code: &u32| match u16::try_from(*code) {
            Ok(code @ 400..=599) => Ok(code),
            _ => Err(ConfigError::new(
                "codes",
                format!("{code} is not from 400 to 599"),
            )),
        };
        let mut retry = Self {
            attempts: raw.attempts,
            per_try_timeout: duration("per_try_timeout", raw.per_try_timeout.as_ref())?
                .filter(|t| !t.is_zero()),
            codes: raw.codes.iter().map(code).collect::<Result<_, _>>()?,
            on: Conditions::default(),
            grpc: Vec::new(),
            backoff: duration("backoff", raw.backoff.as_ref())?.unwrap_or(DEFAULT_BACKOFF),
        };
        for condition in &raw.conditions {
            retry.add_condition(condition)?;
        }
        if raw.conditions.is_empty() {
            // Codes alone, as an HTTPRoute has them: broken connections count as well.
            retry.on.reset = true;
        }
        Ok(retry)
    }

    fn add_condition(&mut self, condition: &str) -> Result<(), ConfigError> {
        match condition {
            "connect-failure" => {}
            "reset" => self.on.reset = true,
            "5xx" => {
                self.on.server_error = true;
                self.on.reset = true;
                self.on.per_try_timeout = true;
            }
            "gateway-error" => self.on.gateway_error = true,
            "retriable-4xx" => self.on.retriable_4xx = true,
            "per-try-timeout" => self.on.per_try_timeout = true,
            "grpc-cancelled" => self.grpc.push(1),
            "grpc-deadline-exceeded" => self.grpc.push(4),
            "grpc-resource-exhausted" => self.grpc.push(8),
            "grpc-internal" => self.grpc.push(13),
            "grpc-unavailable" => self.grpc.push(14),
            other => {
                return Err(ConfigError::new(
                    "conditions",
                    format!("`{other}` is not a known condition"),
                ));
            }
        }
        Ok(())
    }

    /// Whether a try that ended so is worth another.
    pub fn wants(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::ConnectFailure => true,
            Outcome::Reset => self.on.reset,
            Outcome::PerTryTimeout => self.on.per_try_timeout,
            Outcome::Response(status, grpc) => {
                self.codes.contains(&status)
                    || (self.on.server_error && (500..600).contains(&status))
                    || (self.on.gateway_error && matches!(status, 502..=504))
                    || (self.on.retriable_4xx && status == 409)
                    || grpc.is_some_and(|grpc| self.grpc.contains(&grpc))
            }
        }
    }

    /// The wait before the `retry`th try after the first: doubling, with jitter beyond. Never less than the user says, as the
    /// Gateway API has it.
    pub fn backoff(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        let factor = 1u32
            .checked_shl(retry.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(MAX_BACKOFF_FACTOR);
        let shortest = self.backoff.saturating_mul(factor);
        shortest.mul_f64(rng.random_range(1.0..=1.5))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn decode(codes: &[u32], conditions: &[&str]) -> Retry {
        let conditions = conditions.iter().map(|c| (*c).to_owned()).collect();
        Retry::decode(&pb::Retry {
            attempts: 2,
            codes: codes.to_vec(),
            conditions,
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn conditions_decide() {
        use Outcome::{ConnectFailure, PerTryTimeout, Reset, Response};
        let all = [
            ConnectFailure,
            Reset,
            PerTryTimeout,
            Response(503, None),
            Response(500, None),
            Response(409, None),
            Response(200, Some(14)),
            Response(200, None),
        ];
        for (retry, expected) in [
            (
                Retry::clone(&Retry::connect_failures()),
                [true, false, false, false, false, false, false, false],
            ),
            (
                decode(&[503], &[]),
                [true, true, false, true, false, false, false, false],
            ),
            (
                decode(&[], &["5xx"]),
                [true, true, true, true, true, false, false, false],
            ),
            (
                decode(&[], &["gateway-error"]),
                [true, false, false, true, false, false, false, false],
            ),
            (
                decode(&[], &["retriable-4xx", "reset"]),
                [true, true, false, false, false, true, false, false],
            ),
            (
                decode(&[], &["per-try-timeout"]),
                [true, false, true, false, false, false, false, false],
            ),
            (
                decode(&[], &["grpc-unavailable"]),
                [true, false, false, false, false, false, true, false],
            ),
        ] {
            assert_eq!(
                all.map(|outcome| retry.wants(outcome)),
                expected,
                "{retry:?}"
            );
        }
    }

    #[test]
    fn unknown_conditions_and_excesses_are_refused() {
        let refused = |raw: pb::Retry| Retry::decode(&raw).unwrap_err().to_string();
        assert_eq!(
            refused(pb::Retry {
                conditions: vec!["5xxx".into()],
                ..Default::default()
            }),
            "conditions: `5xxx` is not a known condition"
        );
        assert_eq!(
            refused(pb::Retry {
                attempts: 101,
                ..Default::default()
            }),
            "attempts: 101 is more than 100"
        );
        assert_eq!(
            refused(pb::Retry {
                codes: vec![200],
                ..Default::default()
            }),
            "codes: 200 is not from 400 to 599"
        );
    }

    proptest! {
        #[test]
        fn waits_double_within_their_bounds(seed: u64, retry in 1u32..40) {
            let policy = Retry::connect_failures();
            let wait = policy.backoff(retry, &mut SmallRng::seed_from_u64(seed));
            let shortest = DEFAULT_BACKOFF * 2u32.saturating_pow(retry - 1).min(MAX_BACKOFF_FACTOR);
            prop_assert!(wait >= shortest && wait <= shortest * 3 / 2);
        }
    }
}
