//! Targets: held only by the upper end, less the direct figure where they say so, and never by what was not measured.

use super::*;
use crate::results::{
    Sample,
    testing::{self, run},
};
use crate::{
    figures::{HOST_GB, HOST_REQUEST, P99},
    subject::{CULVERT, DIRECT, STOCK},
    work::names,
};
use std::time::Duration;

fn samples(work: &str, figure: &str, subject: &str, values: &[f64]) -> Vec<Sample> {
    testing::samples(Place::TwoNodes, work, figure, subject, values)
}

fn verdict(run: &Run, work: &str, measure: &str) -> Verdict {
    let verdicts = judge(run, true);
    let found = verdicts
        .iter()
        .find(|v| v.work == work && v.measure == measure);
    found.unwrap().clone()
}

#[test]
fn the_upper_end_decides() {
    let of = |ours: &[f64]| {
        let mut all = samples("bulk 1", HOST_GB, CULVERT, ours);
        all.extend(samples("bulk 1", HOST_GB, STOCK, &[2.0, 2.0, 2.0]));
        verdict(&run(all), "bulk, 1 stream", "host CPU per GB")
    };
    assert!(of(&[1.4, 1.41, 1.42]).held());
    let shaky = of(&[1.0, 1.4, 1.9]);
    assert!(
        (shaky.ratio.unwrap() - 0.7).abs() < 1e-9 && !shaky.held(),
        "{shaky:?}"
    );
}

#[test]
fn added_is_less_the_direct_figure() {
    let work = names::http(64, "64B");
    let mut all = samples(&work, HOST_REQUEST, CULVERT, &[30.0, 30.0, 30.0]);
    all.extend(samples(&work, HOST_REQUEST, STOCK, &[50.0, 50.0, 50.0]));
    all.extend(samples(&work, HOST_REQUEST, DIRECT, &[10.0, 10.0, 10.0]));
    let found = verdict(
        &run(all),
        "HTTP keep-alive, 64 connections",
        "added host CPU per request",
    );
    assert_eq!(found.ratio, Some(0.5));
    assert!(found.held());
}

#[test]
fn latencies_are_pooled() {
    let mut all = Vec::new();
    for (subject, slow) in [(DIRECT, 100), (CULVERT, 300), (STOCK, 500)] {
        for mut sample in samples(names::OPEN_HALF, P99, subject, &[0.0, 0.0, 0.0]) {
            let mut latency = Latency::default();
            (0..100).for_each(|i| {
                latency.record(Duration::from_micros(if i < 90 { 50 } else { slow }))
            });
            sample.latency = Some(latency);
            all.push(sample);
        }
    }
    let found = verdict(
        &run(all),
        "open loop at half of ztunnel's capacity, 64",
        "added p99",
    );
    assert!((found.ratio.unwrap() - 0.5).abs() < 0.02, "{found:?}");
}

#[test]
fn what_was_not_measured_is_not_held() {
    let verdicts = judge(&run(Vec::new()), true);
    assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| !verdict.held()));
    assert!(judge(&run(Vec::new()), false).is_empty());
}
