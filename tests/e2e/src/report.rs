//! What came of the cases: a line for each, and all of it as JSON in `target/e2e/report.json`.

use crate::run::root;
use anyhow::{Context, Result};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// One case's outcome.
#[derive(Debug)]
struct Outcome {
    name: String,
    seconds: f64,
    error: Option<String>,
    notes: Vec<String>,
}

/// All outcomes.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

impl Report {
    /// Where the report and the details of failures are.
    pub fn directory() -> PathBuf {
        root().join("target/e2e")
    }

    /// Adds a case and prints its line.
    pub fn add(&mut self, name: &str, took: Duration, outcome: Result<Vec<String>>, details: &str) {
        let (error, notes) = match outcome {
            Ok(notes) => (None, notes),
            Err(error) => (Some(format!("{error:#}")), Vec::new()),
        };
        let word = if error.is_none() { "ok  " } else { "FAIL" };
        println!("{word} {:6.1} s  {name}", took.as_secs_f64());
        for note in &notes {
            println!("                 {note}");
        }
        if let Some(error) = &error {
            println!("    {}", error.replace('\n', "\n    "));
            if !details.is_empty() {
                let path = Self::directory().join(format!("{}.txt", name.replace('/', "-")));
                match fs::write(&path, details) {
                    Ok(()) => println!("    details: {}", path.display()),
                    Err(error) => println!("    details could not be written: {error}"),
                }
            }
        }
        self.outcomes.push(Outcome {
            name: name.to_owned(),
            seconds: took.as_secs_f64(),
            error,
            notes,
        });
    }

    /// How many cases failed.
    pub fn failed(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|one| one.error.is_some())
            .count()
    }

    /// How many there were.
    pub fn total(&self) -> usize {
        self.outcomes.len()
    }

    /// Writes the JSON.
    pub fn write(&self, took: Duration) -> Result<()> {
        let cases: Vec<_> = self
            .outcomes
            .iter()
            .map(|one| {
                json!({
                    "name": one.name, "seconds": one.seconds, "ok": one.error.is_none(),
                    "error": one.error, "notes": one.notes,
                })
            })
            .collect();
        let all = json!({
            "seconds": took.as_secs_f64(), "cases": cases,
            "total": self.total(), "failed": self.failed(),
        });
        let path = Self::directory().join("report.json");
        fs::create_dir_all(Self::directory())?;
        fs::write(&path, format!("{all:#}\n")).with_context(|| path.display().to_string())
    }
}
