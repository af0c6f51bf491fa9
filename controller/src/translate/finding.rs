//! What the translation has to say of an object.

use crate::model::Key;
use crate::path::FieldPath;

/// A condition that an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// It is in force.
    Accepted,
    /// What it refers to exists and may be used.
    ResolvedRefs,
    /// A proxy carries it out.
    Programmed,
    /// All that it demands is enforced.
    Enforced,
}

impl ConditionType {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Enforced => "Enforced",
        }
    }
}

/// Why a condition of an object is False.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: Key,
    /// The condition.
    pub condition: ConditionType,
    /// A word for programs.
    pub reason: &'static str,
    /// The field.
    pub field: FieldPath,
    /// A sentence for people.
    pub message: String,
    /// The user made a mistake, rather than that something is not there yet.
    pub error: bool,
}

/// Gathers findings about one object.
#[derive(Debug)]
pub struct Findings {
    object: Key,
    list: Vec<Finding>,
}

impl Findings {
    /// None yet.
    #[must_use]
    pub fn new(object: Key) -> Self {
        Self {
            object,
            list: Vec::new(),
        }
    }

    /// A mistake.
    pub fn error(
        &mut self,
        condition: ConditionType,
        reason: &'static str,
        field: FieldPath,
        message: impl Into<String>,
    ) {
        self.add(condition, reason, field, message.into(), true);
    }

    /// Something that is not there yet, or not done by this version.
    pub fn note(
        &mut self,
        condition: ConditionType,
        reason: &'static str,
        field: FieldPath,
        message: impl Into<String>,
    ) {
        self.add(condition, reason, field, message.into(), false);
    }

    fn add(
        &mut self,
        condition: ConditionType,
        reason: &'static str,
        field: FieldPath,
        message: String,
        error: bool,
    ) {
        let object = self.object.clone();
        self.list.push(Finding {
            object,
            condition,
            reason,
            field,
            message,
            error,
        });
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<Finding> {
        self.list
    }
}
