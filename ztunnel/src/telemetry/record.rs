//! The account of one connection, from its accept to the one line of its end.
//!
//! Invariant: a record ends once, by [`Record::refused`] or [`Record::closed`], which take it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::denials;
use super::facts::{End, Facts};
use super::series::Series;
use crate::proxy::denial::Denial;

/// What will be counted and logged of one connection.
#[derive(Debug)]
pub(crate) struct Record {
    /// Shared with whoever shows open connections.
    facts: Arc<Mutex<Facts>>,
    started: Instant,
    series: Option<Arc<Series>>,
}

impl Record {
    /// A connection was accepted.
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts: Arc::new(Mutex::new(facts)),
            started: Instant::now(),
            series: None,
        }
    }

    /// What is known of it, for whoever shows open connections.
    pub(crate) fn shared(&self) -> Arc<Mutex<Facts>> {
        self.facts.clone()
    }

    /// What is known of it, to be completed.
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both sides are connected. Returns the counters for its bytes.
    pub(crate) fn established(&mut self) -> Arc<Series> {
        let series = Series::of(self.facts().labels(None));
        series.opened();
        self.facts().log_opened();
        self.series = Some(series.clone());
        series
    }

    /// It came to nothing.
    pub(crate) fn refused(self, denial: &Denial) {
        let facts = self.facts();
        Series::of(facts.labels(Some(denial))).failed();
        denials::count(&facts, denial);
        facts.log(&End {
            established: false,
            to_server: 0,
            to_client: 0,
            duration: self.started.elapsed(),
            denial: Some(denial),
            error: Some(denial),
        });
    }

    /// It has ended, after so many bytes to the server and to the client, of which `counted` are in the metrics already.
    pub(crate) fn closed(self, moved: (u64, u64), counted: (u64, u64), error: Option<&io::Error>) {
        let denial = error.and_then(|error| error.get_ref()?.downcast_ref::<Denial>());
        if let Some(series) = &self.series {
            series.bytes(
                moved.0.saturating_sub(counted.0),
                moved.1.saturating_sub(counted.1),
            );
            series.closed(
                denial
                    .map(|denial| Series::of(self.facts().labels(Some(denial))))
                    .as_deref(),
            );
        }
        let facts = self.facts();
        if let Some(denial) = denial {
            denials::count(&facts, denial);
        }
        facts.log(&End {
            established: true,
            to_server: moved.0,
            to_client: moved.1,
            duration: self.started.elapsed(),
            denial,
            error: error.map(|error| error as &dyn std::error::Error),
        });
    }
}
