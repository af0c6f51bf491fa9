//! [`StringMatch`]: how a policy names namespaces and principals. Literal, without globs and regular expressions.

use std::fmt;

/// A condition on a name. The text stands for itself: `a.b` does not match `axb`, and `*` matches only `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StringMatch {
    /// The whole name.
    Exact(Box<str>),
    /// How the name begins.
    Prefix(Box<str>),
    /// How the name ends.
    Suffix(Box<str>),
    /// Any name at all, as long as there is one.
    Presence,
}

impl StringMatch {
    /// Whether the name satisfies the condition.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => name == &**text,
            Self::Prefix(text) => name.starts_with(&**text),
            Self::Suffix(text) => name.ends_with(&**text),
            Self::Presence => !name.is_empty(),
        }
    }
}

/// As users write it: `name`, `prefix*`, `*suffix`, `*`.
impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Presence => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_characters() {
        assert!(StringMatch::Exact("cert-manager.io".into()).matches("cert-manager.io"));
        assert!(!StringMatch::Exact("cert-manager.io".into()).matches("cert-managerxio"));
        assert!(!StringMatch::Exact("*".into()).matches("anything"));
        assert!(!StringMatch::Prefix("foo.*".into()).matches("foobar"));
        assert!(StringMatch::Prefix("foo.*".into()).matches("foo.*bar"));
        assert!(!StringMatch::Exact("web".into()).matches("Web"));
    }

    #[test]
    fn presence_needs_something() {
        assert!(StringMatch::Presence.matches("x"));
        assert!(!StringMatch::Presence.matches(""));
    }
}
