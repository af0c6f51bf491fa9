//! What happened, for people and for Prometheus: one count a request, and an access-log line where there is something to tell.
//!
//! Invariant: what a client says of itself is never a label by itself beyond a bound, so that the number of series
//! does not grow with what clients invent.

pub mod record;
pub mod series;
mod source;

pub use record::Record;
pub use series::{Series, SeriesCache};
pub use source::SourceLabels;

/// The value of a label that is not known.
pub const UNKNOWN: &str = "unknown";
