//! match: which rule serves the request.
//!
//! Invariant: where routes are attached, only what one of them matches goes on.

use super::decode::Decoded;
use super::normalise::Target;
use super::refusal::Refusal;
use crate::config::matcher::Head;
use crate::routes::{Found, PortConfig};

/// The rule that matches for a client of this namespace, or none where no route is attached and the request goes straight
/// to the service.
pub(super) fn find<'a>(
    config: &'a PortConfig,
    namespace: &str,
    decoded: &Decoded,
    target: Target<'_>,
) -> Result<Option<Found<'a>>, Refusal> {
    let Some(table) = config.table(namespace) else {
        return Ok(None);
    };
    let head = Head {
        method: &decoded.parts.method,
        path: target.path,
        query: target.query,
        headers: &decoded.parts.headers,
    };
    table
        .find(decoded.host_name(), &head)
        .map(Some)
        .ok_or(Refusal::NoRoute)
}
