//! The file of a run: the raw figures and histograms of every round, and on what they were taken.

use crate::{
    figures::Figures,
    latency::Latency,
    machine::{Machine, Program},
    stage::Place,
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// What one measurement found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// From 1.
    pub(crate) round: usize,
    /// Where the server was.
    pub(crate) place: Place,
    /// What was done.
    pub(crate) work: String,
    /// Whose way the bytes went.
    pub(crate) subject: String,
    /// What was found.
    pub(crate) figures: Figures,
    /// Latencies, where there were requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

/// A run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) programs: Vec<Program>,
    /// Whether this was the short form.
    pub(crate) quick: bool,
    /// How many rounds there were.
    pub(crate) rounds: usize,
    /// Requests a second of the open loop, and how they were found.
    pub(crate) open_rate: f64,
    pub(crate) open_rate_is: String,
    pub(crate) samples: Vec<Sample>,
}

impl Run {
    /// Samples of one kind of work.
    pub(crate) fn of<'a>(
        &'a self,
        place: Place,
        work: &'a str,
        subject: &'a str,
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.place == place && sample.work == work && sample.subject == subject
        })
    }

    /// A figure of each round, in the order of rounds.
    pub(crate) fn values(&self, place: Place, work: &str, subject: &str, figure: &str) -> Vec<f64> {
        self.of(place, work, subject)
            .filter_map(|sample| sample.figures.get(figure).copied())
            .collect()
    }

    /// Reads a run's file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes it.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write(path, &serde_json::to_string(self)?)
    }
}

/// Writes a file, and its directory if need be.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, format!("{text}\n")).with_context(|| path.display().to_string())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Runs as tests make them up.

    use super::*;

    /// One figure of each round.
    pub(crate) fn samples(
        place: Place,
        work: &str,
        figure: &str,
        subject: &str,
        values: &[f64],
    ) -> Vec<Sample> {
        let sample = |(i, value): (usize, &f64)| Sample {
            round: i + 1,
            place,
            work: work.into(),
            subject: subject.into(),
            figures: Figures::from([(figure.to_owned(), *value)]),
            latency: None,
        };
        values.iter().enumerate().map(sample).collect()
    }

    /// A run of these.
    pub(crate) fn run(samples: Vec<Sample>) -> Run {
        Run {
            machine: Machine::default(),
            programs: Vec::new(),
            quick: false,
            rounds: 5,
            open_rate: 1.0,
            open_rate_is: String::new(),
            samples,
        }
    }
}
