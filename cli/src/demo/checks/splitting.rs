//! Check 6: a waypoint between the client and two versions: by weight, then by header.

use crate::demo::{
    checks::Evidence,
    client::{self, Replies},
    route::{URL, route, use_waypoint, wait_in_force, weights},
    stage::Stage,
    statistics::binomial_bounds,
};
use anyhow::{Result, ensure};

const WEIGHTED: u32 = 1000;
const BY_HEADER: u32 = 200;

const BY_HEADER_RULES: &str = "  - matches: [{headers: [{name: x-version, value: v2}]}]
    filters: [STAMP]
    backendRefs: [{name: web-v2, port: 80}]
  - filters: [STAMP]
    backendRefs: [{name: web-v1, port: 80}]
";

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    use_waypoint(stage)?;
    let even = weights(50, 50);
    let by_weight = if stage.sabotaged(6) {
        even.clone()
    } else {
        weights(90, 10)
    };
    let by_header = if stage.sabotaged(6) {
        even
    } else {
        BY_HEADER_RULES.to_owned()
    };
    let split = stage.with_object("shop", &route("weights", &by_weight), split);
    let chosen = stage.with_object("shop", &route("header", &by_header), choose);
    let mut evidence = split?;
    evidence.push(chosen?);
    Ok(evidence)
}

fn versions(replies: &Replies) -> (u32, u32) {
    (replies.with_line("v1"), replies.with_line("v2"))
}

fn split(stage: &mut Stage<'_>) -> Result<Evidence> {
    wait_in_force(stage, "weights")?;
    let before = (
        stage.servers.web_v1.answered(200)?,
        stage.servers.web_v2.answered(200)?,
    );
    let replies = client::get_many(&stage.pods.client, URL, WEIGHTED, &[])?.all_ok()?;
    let (v1, v2) = versions(&replies);
    ensure!(v1 + v2 == WEIGHTED, "{v1} + {v2} answers of {WEIGHTED}");
    let bounds = binomial_bounds(WEIGHTED, 0.1);
    ensure!(
        bounds.contains(&v2),
        "{v2} of {WEIGHTED} went to v2, outside {bounds:?}"
    );
    let counted = (
        stage.servers.web_v1.answered(200)? - before.0,
        stage.servers.web_v2.answered(200)? - before.1,
    );
    Ok(vec![
        format!(
            "90/10: of {WEIGHTED} requests {v1} went to v1 and {v2} to v2 (binomial bounds {bounds:?})"
        ),
        format!("the servers' own logs: {} and {}", counted.0, counted.1),
    ])
}

fn choose(stage: &mut Stage<'_>) -> Result<String> {
    wait_in_force(stage, "header")?;
    let client = &stage.pods.client;
    let with = client::get_many(client, URL, BY_HEADER, &["x-version: v2".into()])?.all_ok()?;
    let without = client::get_many(client, URL, BY_HEADER, &[])?.all_ok()?;
    let (with, without) = (versions(&with), versions(&without));
    ensure!(
        with == (0, BY_HEADER),
        "with x-version: v2, {} requests went to v1 and {} to v2",
        with.0,
        with.1
    );
    ensure!(
        without == (BY_HEADER, 0),
        "without a header, {} requests went to v1 and {} to v2",
        without.0,
        without.1
    );
    Ok(format!(
        "by header: {BY_HEADER} of {BY_HEADER} with `x-version: v2` went to v2, {BY_HEADER} of {BY_HEADER} without to v1"
    ))
}
