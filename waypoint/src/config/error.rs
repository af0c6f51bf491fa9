//! What is wrong with a resource, and where in it.

/// One thing wrong with a resource; the field is a path such as `rules[2].filters[0].redirect.status`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    field: String,
    message: String,
}

impl ConfigError {
    /// An error at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// The same error seen from the object that holds the field.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self {
            field: format!("{parent}.{}", self.field),
            message: self.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigError;

    #[test]
    fn path_grows_outwards() {
        let error = ConfigError::new("status", "299 is no redirect")
            .within("filters[0]")
            .within("rules[2]");
        assert_eq!(
            error.to_string(),
            "rules[2].filters[0].status: 299 is no redirect"
        );
    }
}
