//! What tests of routes ask with: a GET without headers and query, so that host and path alone decide.

use std::sync::LazyLock;

use http::{HeaderMap, Method};

use crate::config::matcher::Head;

static METHOD: Method = Method::GET;
static HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// A GET of `path`.
pub(super) fn get(path: &str) -> Head<'_> {
    Head {
        method: &METHOD,
        path,
        query: None,
        headers: &HEADERS,
    }
}
