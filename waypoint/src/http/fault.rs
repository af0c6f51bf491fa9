//! fault: the failures that users ask for.
//!
//! Invariant: a fault comes after authorization, so that nobody learns more by it, and strikes only what its policy
//! names. The first policy that strikes with a delay gives the delay, likewise for the abort.

use culvert_policy::Principal;
use http::HeaderMap;

use super::refusal::Refusal;
use crate::client::Client;
use crate::config::fault::{Fault, FaultPolicy};
use crate::telemetry::{Record, series};

/// Rolls for every policy, waits the delay, and refuses if the request is to be aborted.
pub(super) async fn inject(
    policies: &[std::sync::Arc<FaultPolicy>],
    headers: &HeaderMap,
    client: &Client,
    record: &mut Record,
) -> Result<(), Refusal> {
    if policies.is_empty() {
        return Ok(());
    }
    let fault = roll(policies, headers, client);
    record.fault = fault.label();
    if let Some(delay) = fault.delay {
        series::fault(&record.service, "delay");
        record.flags = "DI";
        tokio::time::sleep(delay).await;
    }
    match fault.abort {
        None => Ok(()),
        Some(abort) => {
            series::fault(&record.service, "abort");
            Err(Refusal::Fault(abort))
        }
    }
}

fn roll(policies: &[std::sync::Arc<FaultPolicy>], headers: &HeaderMap, client: &Client) -> Fault {
    let mut rng = rand::rng();
    let principal = client.principal().map(Principal::as_str);
    policies
        .iter()
        .map(|policy| policy.roll(headers, principal, &mut rng))
        .fold(Fault::default(), Fault::or)
}
