//! fault: the failures that users ask for.
//!
//! Invariant: a fault comes after authorization, so that nobody learns more by it, and strikes only what its policy
//! names. The first policy that strikes with a delay gives the delay, likewise for the abort.

use std::sync::Arc;
use std::time::Duration;

use culvert_policy::Principal;
use http::HeaderMap;

use super::refusal::Refusal;
use crate::client::Client;
use crate::config::fault::{Abort, Fault, FaultPolicy};
use crate::telemetry::{Record, series};

/// Rolls for every policy, waits the delay, and refuses if the request is to be aborted.
pub(super) async fn inject(
    policies: &[Arc<FaultPolicy>],
    headers: &HeaderMap,
    client: &Client,
    record: &mut Record,
) -> Result<(), Refusal> {
    if policies.is_empty() {
        return Ok(());
    }
    let (delay, abort) = roll(policies, headers, client);
    let struck = Fault {
        delay: delay.map(|(delay, _)| delay),
        abort: abort.map(|(abort, _)| abort),
    };
    record.fault = struck.label();
    if let Some((delay, policy)) = delay {
        series::fault(&record.service, &policy.name, "delay");
        record.flags = "DI";
        tokio::time::sleep(delay).await;
    }
    match abort {
        None => Ok(()),
        Some((abort, policy)) => {
            series::fault(&record.service, &policy.name, "abort");
            Err(Refusal::Fault(abort))
        }
    }
}

/// What strikes, each with the first policy that strikes so.
type Struck<'a, T> = Option<(T, &'a FaultPolicy)>;

fn roll<'a>(
    policies: &'a [Arc<FaultPolicy>],
    headers: &HeaderMap,
    client: &Client,
) -> (Struck<'a, Duration>, Struck<'a, Abort>) {
    let mut rng = rand::rng();
    let principal = client.principal().map(Principal::as_str);
    let (mut delay, mut abort) = (None, None);
    for policy in policies {
        let fault = policy.roll(headers, principal, &mut rng);
        delay = delay.or(fault.delay.map(|delay| (delay, &**policy)));
        abort = abort.or(fault.abort.map(|abort| (abort, &**policy)));
    }
    (delay, abort)
}
