//! Where the fields of a document stand.

use crate::path::{FieldPath, Step};

/// Line numbers of a document's fields, by the same tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Of this value; for the value of a key, of the key.
    pub(super) line: u32,
    pub(super) children: Children,
}

/// What a value holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Children {
    None,
    Map(Vec<(String, Positions)>),
    Seq(Vec<Positions>),
}

impl Positions {
    /// The line of a field, or of the nearest that contains it and is there.
    #[must_use]
    pub fn line_of(&self, field: &FieldPath) -> u32 {
        let mut here = self;
        for step in field.steps() {
            let next = match (step, &here.children) {
                (Step::Key(key), Children::Map(entries)) => {
                    entries.iter().find(|(k, _)| k == key).map(|(_, p)| p)
                }
                (Step::Index(index), Children::Seq(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            here = next;
        }
        here.line
    }
}
