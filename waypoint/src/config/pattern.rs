//! Regular expressions of users, always matched against the whole value.
//!
//! Invariant: a pattern runs in time linear in its input, and its compiled size is bounded.

use regex::bytes::{Regex, RegexBuilder};

use super::ConfigError;

/// Longest pattern that is accepted.
const MAX_PATTERN: usize = 1024;
/// Bound of a compiled pattern.
const MAX_COMPILED: usize = 256 * 1024;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `pattern` in RE2 syntax.
    pub fn new(pattern: &str) -> Result<Self, ConfigError> {
        if pattern.len() > MAX_PATTERN {
            return Err(ConfigError::new(
                "regex",
                format!("longer than {MAX_PATTERN} bytes"),
            ));
        }
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(MAX_COMPILED)
                .dfa_size_limit(MAX_COMPILED)
                .build()
                .map_err(|error| ConfigError::new("regex", error.to_string()))
        };
        // By itself first: `a)|(b` is wrong, and must not become right by the parentheses around it.
        build(pattern)?;
        build(&format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn whole_value_only() {
        let pattern = Pattern::new("/v[0-9]+|/beta").unwrap();
        assert!(pattern.matches(b"/v12") && pattern.matches(b"/beta"));
        assert!(
            !pattern.matches(b"/v12/x")
                && !pattern.matches(b"x/beta")
                && !pattern.matches(b"/v1\n")
        );
    }

    #[test]
    fn oversized_and_malformed_are_refused() {
        assert!(Pattern::new(&"a".repeat(1025)).is_err());
        assert!(Pattern::new("(a{1000}){1000}").is_err());
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("a)|(b").is_err());
    }
}
