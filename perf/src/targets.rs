//! The targets and whether a run holds them.
//!
//! Invariant: a target is held only when the upper end of its interval is within it. What was not measured is not held.

mod list;

use crate::{
    latency::Latency,
    results::Run,
    stage::Place,
    stats::{self, Estimate},
};
use serde::Serialize;

/// What is compared with what.
#[derive(Debug)]
pub(crate) struct Target {
    work: &'static str,
    measure: &'static str,
    peer: &'static str,
    at_most: f64,
    compared: Compared,
}

#[derive(Debug)]
enum Compared {
    /// Medians of a figure: ours and theirs, each less its base if there is one.
    Figure {
        ours: Of,
        theirs: Of,
        less: Option<[Of; 2]>,
    },
    /// Quantiles of all requests of all rounds, likewise.
    Pooled {
        ours: Of,
        theirs: Of,
        less: Option<[Of; 2]>,
        quantile: f64,
    },
    /// A figure of ours alone: its greatest.
    Greatest(Of),
}

/// A figure of a subject's work.
#[derive(Clone, Debug)]
struct Of {
    place: Place,
    work: String,
    subject: &'static str,
    figure: &'static str,
}

/// A target and what the run says of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) work: &'static str,
    pub(crate) measure: &'static str,
    pub(crate) peer: &'static str,
    ratio: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    pub(crate) at_most: f64,
}

impl Verdict {
    /// Whether the target is held.
    pub(crate) fn held(&self) -> bool {
        self.upper.is_some_and(|upper| upper <= self.at_most)
    }

    /// The ratio, if it could be measured.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        Some(Estimate {
            value: self.ratio?,
            lower: self.lower,
            upper: self.upper,
        })
    }
}

/// Judges a run by every target whose work it did; with `all`, by those too whose work it left out.
pub(crate) fn judge(run: &Run, all: bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for target in list::all() {
        let estimate = target.estimate(run);
        if estimate.is_none() && !all {
            continue;
        }
        verdicts.push(Verdict {
            work: target.work,
            measure: target.measure,
            peer: target.peer,
            ratio: estimate.map(|estimate| estimate.value),
            lower: estimate.and_then(|estimate| estimate.lower),
            upper: estimate.and_then(|estimate| estimate.upper),
            at_most: target.at_most,
        });
    }
    verdicts
}

impl Target {
    fn estimate(&self, run: &Run) -> Option<Estimate> {
        match &self.compared {
            Compared::Figure { ours, theirs, less } => {
                let of = |drawn: &[usize], values: &Vec<f64>| {
                    stats::median(&stats::drawn(values, drawn))
                };
                estimate(
                    less.as_ref(),
                    [ours, theirs],
                    |of| of.values(run),
                    Vec::len,
                    of,
                )
            }
            Compared::Pooled {
                ours,
                theirs,
                less,
                quantile,
            } => {
                let of = |drawn: &[usize], latencies: &Vec<Latency>| {
                    pool(latencies, drawn).quantile(*quantile)
                };
                estimate(
                    less.as_ref(),
                    [ours, theirs],
                    |of| of.latencies(run),
                    Vec::len,
                    of,
                )
            }
            Compared::Greatest(of) => {
                let value = of.values(run).into_iter().max_by(f64::total_cmp)?;
                let (lower, upper) = (Some(value), Some(value));
                Some(Estimate {
                    value,
                    lower,
                    upper,
                })
            }
        }
    }
}

/// The ratio of the first of a pair to the second, each less its base, over the rounds that all of them have.
fn estimate<T>(
    less: Option<&[Of; 2]>,
    pair: [&Of; 2],
    read: impl Fn(&Of) -> T,
    rounds: impl Fn(&T) -> usize,
    statistic: impl Fn(&[usize], &T) -> f64,
) -> Option<Estimate> {
    let [ours, theirs] = pair.map(&read);
    let bases = less.map(|bases| [read(&bases[0]), read(&bases[1])]);
    let all = [&ours, &theirs].into_iter().chain(bases.iter().flatten());
    let fewest = all.map(rounds).min()?;
    if fewest == 0 {
        return None;
    }
    stats::bootstrap(fewest, |drawn| {
        let base = |index: usize| {
            let base = bases.as_ref().and_then(|bases| bases.get(index));
            base.map_or(0.0, |base| statistic(drawn, base))
        };
        ratio(
            statistic(drawn, &ours) - base(0),
            statistic(drawn, &theirs) - base(1),
        )
    })
}

/// To nothing, or less, there is no ratio.
fn ratio(ours: f64, theirs: f64) -> f64 {
    if theirs > 0.0 {
        ours / theirs
    } else {
        f64::NAN
    }
}

fn pool(latencies: &[Latency], drawn: &[usize]) -> Latency {
    let mut pool = Latency::default();
    for latency in drawn.iter().filter_map(|i| latencies.get(*i)) {
        pool.add(latency);
    }
    pool
}

impl Of {
    fn values(&self, run: &Run) -> Vec<f64> {
        run.values(self.place, &self.work, self.subject, self.figure)
    }

    fn latencies(&self, run: &Run) -> Vec<Latency> {
        let samples = run.of(self.place, &self.work, self.subject);
        samples
            .filter_map(|sample| sample.latency.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
