//! normalise: nothing is changed. A path that different readers would take for different resources is refused, so that
//! policy and matcher see byte for byte what the backend gets.

use http::request;

use super::refusal::Refusal;
use crate::path::{check_path, check_query};

/// The target of a request: its bytes are those that go to the backend unless a rewrite says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Starts with `/`.
    pub path: &'a str,
    /// Without `?`.
    pub query: Option<&'a str>,
}

/// Accepts the request's target or refuses it.
pub(super) fn normalise(parts: &request::Parts) -> Result<Target<'_>, Refusal> {
    let target = Target {
        path: parts.uri.path(),
        query: parts.uri.query(),
    };
    check_path(target.path)?;
    if let Some(query) = target.query {
        check_query(query)?;
    }
    Ok(target)
}
