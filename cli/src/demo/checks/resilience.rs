//! Check 7: the waypoint tries again where a backend fails, and fails on purpose where a policy says so.

use crate::demo::{
    checks::Evidence,
    client, route,
    route::use_waypoint,
    servers::UNRELIABLE_SHARE,
    stage::{EFFECT, NAMESPACE, Stage},
    statistics::binomial_bounds,
};
use anyhow::{Result, ensure};
use culvert_lab::{objects::Port, wait};

const URL: &str = "http://unreliable/";
const RETRIED: u32 = 500;
const FAULTED: u32 = 500;
const DELAY_SECONDS: f64 = 0.2;
const DELAYED: f64 = 0.30;
const ABORTED: f64 = 0.20;
/// A status that no server of the demo answers of its own accord.
const ABORT_STATUS: u16 = 418;

fn retries() -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: unreliable, namespace: {NAMESPACE}}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: unreliable}}]
  retries: {{attempts: 8, retryOn: \"503\", backoff: 5ms}}
  retryConstraint: {{budget: {{percent: 100, interval: 10s}}, minRetryRate: {{count: 100, interval: 1s}}}}
"
    )
}

fn fault() -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1
kind: FaultPolicy
metadata: {{name: shop, namespace: {NAMESPACE}}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: shop}}]
  delay: {{percentage: {{value: 30}}, fixedDelay: 200ms}}
  abort: {{percentage: {{value: 20}}, httpStatus: {ABORT_STATUS}}}
"
    )
}

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    stage.put_service(
        "unreliable",
        Port::same(80),
        &[("culvert.dev/use-waypoint", "waypoint")],
    )?;
    use_waypoint(stage)?;
    let hidden = hide_failures(stage);
    let faults = stage.with_object("fault", &fault(), fail_on_purpose);
    wait::until("the fault to be lifted", EFFECT, || {
        client::get_many(&stage.pods.client, route::URL, 50, &[])?
            .all_ok()
            .map(Some)
    })?;
    Ok([hidden?, faults?].concat())
}

fn hide_failures(stage: &mut Stage<'_>) -> Result<Evidence> {
    if stage.sabotaged(7) {
        return count_retries(stage);
    }
    stage.with_object("retries", &retries(), |stage| {
        wait::until("retries to be in force", EFFECT, || {
            client::get_many(&stage.pods.client, URL, 100, &[])?
                .all_ok()
                .map(Some)
        })?;
        count_retries(stage)
    })
}

fn count_retries(stage: &mut Stage<'_>) -> Result<Evidence> {
    let server = &stage.servers.unreliable;
    let before = (server.answered(200)?, server.answered(503)?);
    let replies = client::get_many(&stage.pods.client, URL, RETRIED, &[])?;
    let seen = replies.with_status(503);
    replies.all_ok()?;
    let good = wait::until("the backend's log", EFFECT, || {
        let good = server.answered(200)? - before.0;
        Ok((good >= RETRIED).then_some(good))
    })?;
    let hidden = server.answered(503)? - before.1;
    ensure!(
        good == RETRIED,
        "the backend counted {good} good answers to {RETRIED} requests"
    );
    ensure!(hidden > 0, "the backend never failed, so nothing was shown");
    Ok(vec![format!(
        "retries: {RETRIED} requests, {seen} saw a 503; the backend counted {} tries, {hidden} of them 503 (it fails {:.0} %)",
        good + hidden,
        UNRELIABLE_SHARE * 100.0
    )])
}

fn fail_on_purpose(stage: &mut Stage<'_>) -> Result<Evidence> {
    let client = &stage.pods.client;
    wait::until("the fault to be in force", EFFECT, || {
        let replies = client::get_many(client, route::URL, 50, &[])?;
        Ok((replies.with_status(ABORT_STATUS) > 0).then_some(()))
    })?;
    let replies = client::get_many(client, route::URL, FAULTED, &[])?;
    let aborted = replies.with_status(ABORT_STATUS);
    let served = replies.with_status(200);
    ensure!(
        aborted + served == FAULTED,
        "statuses {:?}",
        replies.statuses
    );
    let delayed = replies
        .seconds
        .iter()
        .filter(|seconds| **seconds >= DELAY_SECONDS)
        .count();
    let delayed = u32::try_from(delayed)?;
    let (abort_bounds, delay_bounds) = (
        binomial_bounds(FAULTED, ABORTED),
        binomial_bounds(FAULTED, DELAYED),
    );
    ensure!(
        abort_bounds.contains(&aborted),
        "{aborted} of {FAULTED} aborted, outside {abort_bounds:?}"
    );
    ensure!(
        delay_bounds.contains(&delayed),
        "{delayed} of {FAULTED} delayed, outside {delay_bounds:?}"
    );
    Ok(vec![
        format!(
            "fault: {aborted} of {FAULTED} aborted with {ABORT_STATUS} (20 %, bounds {abort_bounds:?})"
        ),
        format!(
            "       {delayed} of {FAULTED} took {DELAY_SECONDS} s or more (30 %, bounds {delay_bounds:?})"
        ),
    ])
}
