//! Where objects come from. A source says what changed, in batches; everything after it is the same for all sources.
//!
//! Invariants: the first batch of a source is complete, so that nothing is served before it; a batch holds only objects
//! that [`crate::admit`] made.

pub mod dir;
pub mod kube;
mod seen;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use culvert_runtime::drain::Drain;
use tokio::sync::mpsc;

use crate::model::{Key, Object};

pub use dir::positions::Positions;
pub use seen::Seen;

/// A source of objects.
pub trait Source: Send + 'static {
    /// Send what there is, then what changes, until the drain starts.
    fn run(self, batches: mpsc::Sender<Batch>, drain: Drain) -> impl Future<Output = ()> + Send;
}

/// What changed since the last batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In no order.
    pub changes: Vec<Change>,
    /// All that is wrong now, not only what is new.
    pub rejections: Vec<Rejection>,
    /// How far the source was read, where it can say.
    pub seen: Seen,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is new or different.
    Put(Object, Origin),
    /// The object is gone.
    Remove(Key),
}

/// Where an object was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, if it was one.
    pub file: Option<Arc<Path>>,
    /// Where its text begins.
    pub line: u32,
    /// Where its fields are.
    pub positions: Option<Arc<Positions>>,
}

impl Origin {
    /// The line of a field, or of what is nearest to it.
    #[must_use]
    pub fn line_of(&self, field: &crate::path::FieldPath) -> u32 {
        let positions = self.positions.as_ref();
        positions.map_or(self.line, |positions| positions.line_of(field))
    }
}

/// Something that is not in force as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The file, if it was one.
    pub file: Option<Arc<Path>>,
    /// The line.
    pub line: u32,
    /// `Kind NAMESPACE/NAME`, as far as it can be told.
    pub object: String,
    /// The field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What is in force instead.
    pub effect: Effect,
}

/// What is in force instead of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The last good version.
    LastGood,
    /// Nothing.
    None,
    /// The object, with a reference that refuses what it leads to.
    FailClosed,
}
