//! The place of a field inside an object, as a person writes it: `spec.rules[0].backendRefs[1].port`.

use std::fmt;

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A key of a mapping.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// Steps from the object's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The object itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of keys, `spec.selector`. For keys with dots of their own, see [`key`](Self::key).
    #[must_use]
    pub fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|k| Step::Key(k.to_owned())).collect())
    }

    /// `metadata.labels[NAME]`.
    #[must_use]
    pub fn label(name: &str) -> Self {
        Self::of("metadata.labels").key(name)
    }

    /// The field `key` of this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// Element `index` of this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// One step further.
    #[must_use]
    pub fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// From the root to the field.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this is the object itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Step> for FieldPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if key.contains(['.', '/', ' ', '[']) => write!(f, "[{key}]")?,
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where.
    pub field: FieldPath,
    /// What, for a person.
    pub message: String,
}

/// Gathers what is wrong with an object, so that all of it is reported at once.
#[derive(Debug, Default)]
pub struct Issues(Vec<Issue>);

impl Issues {
    /// Add one.
    pub fn add(&mut self, field: FieldPath, message: impl Into<String>) {
        self.0.push(Issue {
            field,
            message: message.into(),
        });
    }

    /// The value, or nothing and an issue at `field`.
    pub fn take<T, E: fmt::Display>(
        &mut self,
        field: &FieldPath,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field.clone(), error.to_string());
                None
            }
        }
    }

    /// The object, if nothing is wrong with it.
    pub fn into_result<T>(self, value: T) -> Result<T, Vec<Issue>> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_person_writes_it() {
        let path = FieldPath::of("spec.rules").index(0).key("matches").index(2);
        assert_eq!(path.to_string(), "spec.rules[0].matches[2]");
        assert_eq!(
            FieldPath::label("culvert.dev/use-waypoint").to_string(),
            "metadata.labels[culvert.dev/use-waypoint]"
        );
        assert_eq!(FieldPath::root().to_string(), "");
    }
}
