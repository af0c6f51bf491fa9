//! What got worse (and what better) between two runs, beyond what their rounds differ among themselves.
//!
//! A figure changed when the interval of the ratio of the newer medians to the older ones leaves out one, by at least
//! [`SLACK`], and the direct figure of the same work, if there is one, did not change alike: then it was the machine.

use crate::{
    figures::{self, more_is_better, short},
    results::Run,
    stats::{self, Estimate},
    subject::{CULVERT, DIRECT},
    summary::{self, Row},
};
use anyhow::Result;
use clap::Args as ClapArgs;
use std::{path::PathBuf, process::ExitCode};

/// Two files of runs.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    older: PathBuf,
    newer: PathBuf,
}

/// Less than this is not worth telling.
const SLACK: f64 = 0.03;

/// How a figure of ours changed.
#[derive(Debug)]
struct Change {
    what: String,
    older: f64,
    newer: f64,
    /// Newer to older, turned so that more than one is worse.
    worse: Estimate,
}

/// Prints the changes. Fails when something got worse.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (older, newer) = (Run::read(&args.older)?, Run::read(&args.newer)?);
    if older.machine != newer.machine {
        println!("the runs are of different machines: what changed may be that");
    }
    if older.rounds.min(newer.rounds) < 5 {
        println!("fewer than five rounds: intervals are narrower than they should be");
    }
    let changes = changes(&older, &newer);
    let (worse, better): (Vec<_>, Vec<_>) = changes.iter().partition(|c| c.worse.value > 1.0);
    for (title, list) in [("better", &better), ("worse", &worse)] {
        for change in list {
            println!(
                "{title}: {}: {} -> {}",
                change.what,
                short(change.older),
                short(change.newer)
            );
        }
    }
    println!("{} figures got better, {} worse", better.len(), worse.len());
    Ok(if worse.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn changes(older: &Run, newer: &Run) -> Vec<Change> {
    let rows = summary::rows(newer);
    // How late the generator was is the machine's matter.
    let rows = rows.iter().filter(|row| row.figure != figures::LAG);
    rows.filter_map(|row| change(older, newer, row)).collect()
}

fn change(older: &Run, newer: &Run, row: &Row) -> Option<Change> {
    let values = |run: &Run, subject| run.values(row.place, &row.work, subject, &row.figure);
    let (old, new) = (values(older, CULVERT), values(newer, CULVERT));
    let turned = |newer: f64, older: f64| match more_is_better(&row.figure) {
        true => older / newer,
        false => newer / older,
    };
    let all = stats::independent(&old, &new, |old, new| turned(new, old))?;
    let outside = all.lower.is_some_and(|lower| lower > 1.0 + SLACK)
        || all.upper.is_some_and(|upper| upper < 1.0 - SLACK);
    let (direct_old, direct_new) = (values(older, DIRECT), values(newer, DIRECT));
    let drift = if direct_old.is_empty() || direct_new.is_empty() {
        1.0
    } else {
        turned(stats::median(&direct_new), stats::median(&direct_old))
    };
    let own = all.value / drift;
    let same_way = (all.value > 1.0) == (own > 1.0) && (own - 1.0).abs() > SLACK;
    (outside && same_way).then(|| Change {
        what: format!("{}, {}, {}", row.place, row.work, row.figure),
        older: stats::median(&old),
        newer: stats::median(&new),
        worse: all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::testing, stage::Place};

    fn run(subject: &str, values: &[f64], direct: &[f64]) -> Run {
        let mut samples = testing::samples(Place::TwoNodes, "bulk 1", "host s/GB", subject, values);
        samples.extend(testing::samples(
            Place::TwoNodes,
            "bulk 1",
            "host s/GB",
            DIRECT,
            direct,
        ));
        testing::run(samples)
    }

    #[test]
    fn worse_is_what_leaves_the_noise_and_is_not_the_machine() {
        let calm = [0.3, 0.3, 0.3];
        let older = run(CULVERT, &[1.0, 1.02, 0.99], &calm);
        let worse = changes(&older, &run(CULVERT, &[1.2, 1.22, 1.19], &calm));
        assert_eq!(worse.len(), 1);
        assert!(worse[0].worse.value > 1.0);
        let better = changes(&older, &run(CULVERT, &[0.8, 0.82, 0.79], &calm));
        assert!(better[0].worse.value < 1.0);
        assert!(
            changes(&older, &run(CULVERT, &[1.01, 1.0, 1.03], &calm)).is_empty(),
            "noise"
        );
        let slow_machine = run(CULVERT, &[1.2, 1.22, 1.19], &[0.36, 0.36, 0.36]);
        assert!(
            changes(&older, &slow_machine).is_empty(),
            "direct changed alike"
        );
    }
}
