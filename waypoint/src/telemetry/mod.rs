//! What happened, for people and for Prometheus: one access-log line and one count a request.
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
