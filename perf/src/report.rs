//! The table for people and the same for programs, with the floors that the mesh must keep.

use crate::{
    machine::Machine,
    stats::Spread,
    work::{Figures, HOST_REQUEST, RATE, Sample},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

const SUBJECTS: [&str; 3] = ["direct", "culvert", "stock"];
/// Bulk must reach this part of the stock ztunnel's rate.
const LEAST_RATE: f64 = 0.7;
/// A request at 64 connections may cost this many times what it costs the stock ztunnel.
const MOST_CPU: f64 = 1.5;

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    floors: Vec<Floor>,
    samples: Vec<Sample>,
}

/// One figure of one kind of work, of every subject.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    figure: &'static str,
    subjects: BTreeMap<&'static str, Spread>,
    /// Culvert's median as a part of the stock ztunnel's.
    ratio: Option<f64>,
}

/// A floor and whether it is kept.
#[derive(Debug, Serialize)]
struct Floor {
    what: String,
    ratio: f64,
    kept: bool,
}

impl Report {
    /// Of all samples of a run.
    pub(crate) fn new(machine: Machine, samples: Vec<Sample>) -> Self {
        let rows = rows(&samples);
        let floors = rows.iter().filter_map(floor).collect();
        Self {
            machine,
            rows,
            floors,
            samples,
        }
    }

    /// Whether no floor is missed. Without a stock ztunnel there is none to miss.
    pub(crate) fn floors_kept(&self) -> bool {
        self.floors.iter().all(|floor| floor.kept)
    }
}

fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for sample in samples {
        for figure in sample.figures.keys() {
            if !rows
                .iter()
                .any(|row| row.work == sample.work && row.figure == *figure)
            {
                rows.push(row(samples, &sample.work, figure));
            }
        }
    }
    let order = |row: &Row| samples.iter().position(|sample| sample.work == row.work);
    rows.sort_by_key(order);
    rows
}

fn row(samples: &[Sample], work: &str, figure: &'static str) -> Row {
    let mut subjects = BTreeMap::new();
    for subject in SUBJECTS {
        let of_subject = samples
            .iter()
            .filter(|sample| sample.work == work && sample.subject == subject);
        let values: Vec<f64> = of_subject
            .filter_map(|sample| sample.figures.get(figure).copied())
            .collect();
        if let Some(spread) = Spread::of(&values) {
            subjects.insert(subject, spread);
        }
    }
    let median = |subject| subjects.get(subject).map(|spread: &Spread| spread.median);
    let ratio = median("culvert")
        .zip(median("stock"))
        .map(|(ours, theirs)| ours / theirs);
    Row {
        work: work.to_owned(),
        figure,
        subjects,
        ratio,
    }
}

fn floor(row: &Row) -> Option<Floor> {
    let ratio = row.ratio?;
    let (what, kept) = if row.work.starts_with("bulk ") && row.figure == RATE {
        (
            format!("{}: rate at least {LEAST_RATE} of stock", row.work),
            ratio >= LEAST_RATE,
        )
    } else if row.work == "http 64" && row.figure == HOST_REQUEST {
        (
            format!(
                "{}: host CPU a request at most {MOST_CPU} of stock",
                row.work
            ),
            ratio <= MOST_CPU,
        )
    } else {
        return None;
    };
    Some(Floor { what, ratio, kept })
}

/// Figures on one line.
pub(crate) fn line(figures: &Figures) -> String {
    let parts: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name} {}", short(*value)))
        .collect();
    parts.join(", ")
}

/// Three digits that count, or all whole ones.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            processor,
            cores,
            kernel,
            congestion_control,
        } = &self.machine;
        writeln!(
            f,
            "{processor}, {cores} cores, Linux {kernel}, {congestion_control}; median (least-greatest)"
        )?;
        write!(f, "{:<11} {:<19}", "work", "figure")?;
        for subject in SUBJECTS {
            write!(f, " {subject:>24}")?;
        }
        writeln!(f, " {:>14}", "culvert/stock")?;
        for row in &self.rows {
            write!(f, "{:<11} {:<19}", row.work, row.figure)?;
            for subject in SUBJECTS {
                write!(
                    f,
                    " {:>24}",
                    row.subjects.get(subject).map_or_else(|| "-".into(), spread)
                )?;
            }
            writeln!(
                f,
                " {:>14}",
                row.ratio
                    .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))
            )?;
        }
        if self.floors.is_empty() {
            writeln!(f, "no comparison with a stock ztunnel in this run")?;
        }
        for Floor { what, ratio, kept } in &self.floors {
            let verdict = if *kept { "kept" } else { "MISSED" };
            writeln!(f, "floor {verdict}: {what} ({ratio:.2})")?;
        }
        Ok(())
    }
}

fn spread(spread: &Spread) -> String {
    format!(
        "{} ({}-{})",
        short(spread.median),
        short(spread.min),
        short(spread.max)
    )
}

#[cfg(test)]
mod tests;
