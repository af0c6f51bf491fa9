//! The conditions of a route's rule, and what a request must look like to meet them.
//!
//! Invariant: matching reads the path, the query and the headers exactly as the backend will get them.

use std::borrow::Cow;

use culvert_proto::waypoint as pb;
use http::{HeaderMap, HeaderName, Method};

use super::pattern::Pattern;
use super::{ConfigError, decode_all};

/// What of a request is matched.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path without query, as it goes to the backend.
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// On the path; absent matches every path.
    pub path: Option<PathMatch>,
    /// On the method; absent matches every method.
    pub method: Option<Method>,
    /// On headers.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters.
    pub query: Vec<QueryMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The very same bytes.
    Exact(Box<str>),
    /// Whole leading elements. Kept without a trailing slash: `/` is the empty string.
    Prefix(Box<str>),
    /// The whole path matches.
    Regex(Pattern),
}

/// A condition on a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// The very same bytes.
    Exact(Box<[u8]>),
    /// The whole value matches.
    Regex(Pattern),
}

/// A condition on a header: one of its values meets it.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// Whose values.
    pub name: HeaderName,
    /// What one of them must be.
    pub value: ValueMatch,
}

/// A condition on a query parameter: its first occurrence meets it.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The decoded name.
    pub name: Box<str>,
    /// What the decoded value must be.
    pub value: ValueMatch,
}

/// How specific a match is, in the order in which the Gateway API ranks them. Greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    path: PathRank,
    path_length: usize,
    method: bool,
    headers: usize,
    query: usize,
}

/// Kinds of path conditions. A regular expression ranks over the prefix `/`, which matches everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Everything,
    Regex,
    Prefix,
    Exact,
}

impl Match {
    /// Decodes one match.
    pub fn decode(raw: &pb::HttpMatch) -> Result<Self, ConfigError> {
        let path = match &raw.path {
            Some(path) => PathMatch::decode(path).map_err(|error| error.within("path"))?,
            None => None,
        };
        let method = match raw.method.as_str() {
            "" => None,
            name => Some(
                Method::from_bytes(name.as_bytes())
                    .map_err(|_| ConfigError::new("method", format!("`{name}` is not a method")))?,
            ),
        };
        let headers = decode_all("headers", &raw.headers, HeaderMatch::decode)?;
        let query = decode_all("query_params", &raw.query_params, QueryMatch::decode)?;
        Ok(Self {
            path,
            method,
            headers,
            query,
        })
    }

    /// Whether `head` meets every condition.
    pub fn matches(&self, head: &Head<'_>) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| method == head.method)
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.matches(head.path))
            && self
                .headers
                .iter()
                .all(|header| header.matches(head.headers))
            && self.query.iter().all(|query| query.matches(head.query))
    }

    /// How specific this match is.
    pub fn specificity(&self) -> Specificity {
        let (path, path_length) = match &self.path {
            Some(PathMatch::Exact(path)) => (PathRank::Exact, path.len()),
            Some(PathMatch::Prefix(prefix)) if !prefix.is_empty() => {
                (PathRank::Prefix, prefix.len())
            }
            Some(PathMatch::Regex(_)) => (PathRank::Regex, 0),
            Some(PathMatch::Prefix(_)) | None => (PathRank::Everything, 0),
        };
        Specificity {
            path,
            path_length,
            method: self.method.is_some(),
            headers: self.headers.len(),
            query: self.query.len(),
        }
    }

    /// The path prefix that this match names; `/` (the empty string) where it names no path.
    pub fn prefix(&self) -> Option<&str> {
        match &self.path {
            Some(PathMatch::Prefix(prefix)) => Some(prefix),
            None => Some(""),
            Some(_) => None,
        }
    }
}

impl PathMatch {
    fn decode(raw: &pb::PathMatch) -> Result<Option<Self>, ConfigError> {
        use pb::path_match::Kind;
        let absolute = |field: &str, path: &str| {
            if path.starts_with('/') {
                Ok(())
            } else {
                Err(ConfigError::new(
                    field,
                    format!("`{path}` does not start with `/`"),
                ))
            }
        };
        Ok(match &raw.kind {
            None => None,
            Some(Kind::Exact(path)) => {
                absolute("exact", path)?;
                Some(Self::Exact(path.as_str().into()))
            }
            Some(Kind::Prefix(prefix)) => {
                absolute("prefix", prefix)?;
                Some(Self::Prefix(prefix.trim_end_matches('/').into()))
            }
            Some(Kind::Regex(pattern)) => Some(Self::Regex(Pattern::new(pattern)?)),
        })
    }

    /// Whether `path` meets the condition.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
        }
    }
}

impl ValueMatch {
    fn decode(raw: Option<&pb::value_match::Kind>) -> Result<Self, ConfigError> {
        match raw {
            Some(pb::value_match::Kind::Exact(value)) => Ok(Self::Exact(value.as_bytes().into())),
            Some(pb::value_match::Kind::Regex(pattern)) => Pattern::new(pattern).map(Self::Regex),
            None => Err(ConfigError::new("exact", "no value to match")),
        }
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

impl HeaderMatch {
    /// Decodes one header condition.
    pub fn decode(raw: &pb::ValueMatch) -> Result<Self, ConfigError> {
        let name = HeaderName::from_bytes(raw.name.as_bytes()).map_err(|_| {
            ConfigError::new("name", format!("`{}` is not a header name", raw.name))
        })?;
        Ok(Self {
            name,
            value: ValueMatch::decode(raw.kind.as_ref())?,
        })
    }

    /// Whether one of the header's values meets the condition. Each line of the header is one value.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all(&self.name)
            .iter()
            .any(|value| self.value.matches(value.as_bytes()))
    }
}

impl QueryMatch {
    fn decode(raw: &pb::ValueMatch) -> Result<Self, ConfigError> {
        if raw.name.is_empty() {
            return Err(ConfigError::new("name", "is empty"));
        }
        Ok(Self {
            name: raw.name.as_str().into(),
            value: ValueMatch::decode(raw.kind.as_ref())?,
        })
    }

    fn matches(&self, query: Option<&str>) -> bool {
        query_value(query, &self.name).is_some_and(|value| self.value.matches(&value))
    }
}

/// The decoded value of the first query parameter of this name.
pub fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(found, _)| *form_decoded(found) == *name.as_bytes())
        .map(|(_, value)| form_decoded(value))
}

/// Undoes the encoding of HTML forms; an escape that is none stays as it is.
fn form_decoded(raw: &str) -> Cow<'_, [u8]> {
    if !raw.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(raw.as_bytes());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        decoded.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (other, _) => *other,
        });
    }
    Cow::Owned(decoded)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
