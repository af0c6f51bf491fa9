//! What became of everything, for people and for the next start.

mod components;
mod document;
mod memory;
mod writer;

pub use components::Components;
pub use document::{Document, View, document};
pub use memory::{Memory, MemoryError};
pub use writer::Writer;
