//! What became of everything, for people and for the next start.

mod components;
mod document;
mod egress;
mod gateways;
pub mod kube;
mod memory;
mod sets;
mod writer;

pub use components::Components;
pub use document::{Document, Verdicts, View, document, verdicts};
pub use memory::{Journal, Memory, MemoryError};
pub use writer::Writer;
