//! What a backend is told of a client outside the mesh.
//!
//! Invariants: `x-forwarded-client-cert` is the gateway's word alone: what a client says there is removed. The last address of `x-forwarded-for` is the one that the connection came from, whatever the client says
//! before it; `x-forwarded-proto` is what the client spoke. They are set before the request is matched, so that rules see
//! what the backend sees.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::FORWARDED_CLIENT_CERT;
use crate::client::Client;
use crate::destination::Arrival;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Appends the client's address, and sets the scheme and what its certificate says.
pub(super) fn append(headers: &mut HeaderMap, client: &Client, arrival: &Arrival) {
    let mut chain = Vec::new();
    for earlier in headers.get_all(&FORWARDED_FOR) {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    let mut address = String::new();
    // Writing to a String does not fail.
    let _ = write!(address, "{}", client.address);
    chain.extend_from_slice(address.as_bytes());
    // Values of headers and an address are one.
    if let Ok(chain) = HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)) {
        headers.insert(FORWARDED_FOR, chain);
    }
    match arrival.certificate.get() {
        Some(shown) => drop(headers.insert(FORWARDED_CLIENT_CERT, shown.clone())),
        None => drop(headers.remove(FORWARDED_CLIENT_CERT)),
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(arrival.scheme()));
}
