//! A run as a person reads it in a terminal.

use crate::{
    figures::short,
    results::Run,
    stats::{Estimate, Spread},
    summary::{self, SUBJECTS},
    targets::Verdict,
};
use std::fmt::Write as _;

/// All rows: median, and the least and greatest in brackets; the ratio with its interval.
pub(crate) fn rows(run: &Run) -> String {
    let machine = &run.machine;
    let mut text = format!(
        "{}, {} cores, Linux {}, {}; {} rounds; median (least-greatest)\n",
        machine.processor, machine.cores, machine.kernel, machine.congestion_control, run.rounds
    );
    let _ = write!(text, "{:<9} {:<24} {:<24}", "place", "work", "figure");
    for subject in SUBJECTS {
        let _ = write!(text, " {subject:>24}");
    }
    let _ = writeln!(text, " {:>20}", "culvert/peer");
    for row in summary::rows(run) {
        let _ = write!(text, "{:<9} {:<24} {:<24}", row.place, row.work, row.figure);
        for subject in SUBJECTS {
            let cell = row.subjects.get(subject).map_or_else(|| "-".into(), spread);
            let _ = write!(text, " {cell:>24}");
        }
        let ratio = row.ratio.as_ref().map_or_else(|| "-".into(), estimate);
        let _ = writeln!(text, " {ratio:>20}");
    }
    text
}

/// The targets, each with its ratio.
pub(crate) fn verdicts(verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "{:<42} {:<28} {:<16} {:>20} {:>8}\n",
        "work", "measure", "beside", "ratio", "at most"
    );
    for verdict in verdicts {
        let ratio = verdict
            .estimate()
            .as_ref()
            .map_or_else(|| "-".into(), estimate);
        let held = if verdict.held() { "held" } else { "MISSED" };
        let _ = writeln!(
            text,
            "{:<42} {:<28} {:<16} {ratio:>20} {:>8} {held}",
            verdict.work, verdict.measure, verdict.peer, verdict.at_most
        );
    }
    text
}

fn spread(spread: &Spread) -> String {
    format!(
        "{} ({}-{})",
        short(spread.median),
        short(spread.min),
        short(spread.max)
    )
}

/// A ratio and its interval; `?` where the interval has no end.
pub(crate) fn estimate(estimate: &Estimate) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "?".into(), |end| format!("{end:.2}"));
    format!(
        "{:.2} ({}-{})",
        estimate.value,
        end(estimate.lower),
        end(estimate.upper)
    )
}
