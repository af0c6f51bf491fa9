//! What faults of requests and of connections have in common, from the wire.

use std::time::{Duration, Instant, SystemTime};

use culvert_policy::fault::{Delay, Share, Term};
use culvert_proto::waypoint as pb;

use crate::state::Invalid;

fn invalid<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid {
        field: field.into(),
        problem: problem.into(),
    })
}

/// How many are struck.
pub fn share(per_ten_thousand: u32) -> Result<Share, Invalid> {
    match Share::new(per_ten_thousand) {
        Some(share) => Ok(share),
        None => invalid(
            "per_ten_thousand",
            format!("{per_ten_thousand} is more than 10000"),
        ),
    }
}

/// How long a delay is, and how many are delayed. A delay is stated in exactly one way.
pub fn delay(raw: &pb::FaultDelay) -> Result<(Delay, Share), Invalid> {
    let mut stated = Vec::new();
    if raw.fixed.is_some() {
        stated.push(Delay::Fixed(duration("fixed", raw.fixed.as_ref())?));
    }
    if let Some(uniform) = &raw.uniform {
        stated.push(Delay::Uniform {
            min: duration("uniform.min", uniform.min.as_ref())?,
            max: duration("uniform.max", uniform.max.as_ref())?,
        });
    }
    if let Some(normal) = &raw.normal {
        stated.push(Delay::Normal {
            mean: duration("normal.mean", normal.mean.as_ref())?,
            std_dev: duration("normal.std_dev", normal.std_dev.as_ref())?,
            max: duration("normal.max", normal.max.as_ref())?,
        });
    }
    if let Some(exponential) = &raw.exponential {
        stated.push(Delay::Exponential {
            mean: duration("exponential.mean", exponential.mean.as_ref())?,
            max: duration("exponential.max", exponential.max.as_ref())?,
        });
    }
    let [delay] = stated[..] else {
        let problem = match stated.len() {
            0 => "is missing",
            _ => "stands beside another kind of delay",
        };
        return invalid("fixed", problem);
    };
    delay
        .check()
        .or_else(|(field, problem)| invalid(field, problem))?;
    Ok((delay, share(raw.per_ten_thousand)?))
}

/// How long a policy is in force, which is seen now for the first time.
pub fn term(raw: &pb::FaultTerm) -> Result<Term, Invalid> {
    let Some(not_after) = raw.not_after else {
        return invalid("not_after", "is missing");
    };
    let Ok(not_after) = SystemTime::try_from(not_after) else {
        return invalid("not_after", "is no time");
    };
    let lasts = duration("lasts", raw.lasts.as_ref())?;
    let now = Instant::now();
    if now.checked_add(lasts).is_none() {
        return invalid("lasts", "is too long");
    }
    Ok(Term::new(not_after, lasts, (SystemTime::now(), now)))
}

fn duration(field: &str, raw: Option<&prost_types::Duration>) -> Result<Duration, Invalid> {
    match raw.map(|raw| Duration::try_from(*raw)) {
        None => invalid(field, "is missing"),
        Some(Err(_negative)) => invalid(field, "is not a duration of zero or more"),
        Some(Ok(duration)) => Ok(duration),
    }
}
