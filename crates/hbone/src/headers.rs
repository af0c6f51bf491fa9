//! The headers of a CONNECT and of its answer.
//!
//! Invariant: what a peer writes in them is for telemetry only. Nothing here ever becomes an identity, a source address
//! or an input of a policy; what is malformed or too long is left out.

mod baggage;
mod forwarded;
mod traceparent;

pub use baggage::{Baggage, WorkloadKind};
pub use forwarded::Forwarded;
pub use traceparent::TraceParent;

use crate::engine::Fields;

/// A longer value is treated as absent.
const MAX_VALUE: usize = 4096;

const BAGGAGE: &str = "baggage";
const FORWARDED: &str = "forwarded";
const TRACEPARENT: &str = "traceparent";

/// Headers of a CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectHeaders {
    /// Who the client says it is.
    pub baggage: Option<Baggage>,
    /// For whom the client says it calls, and by which host name.
    pub forwarded: Option<Forwarded>,
    /// The trace that the connection belongs to.
    pub traceparent: Option<TraceParent>,
}

/// Headers of the answer to a CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Who the server says it is.
    pub baggage: Option<Baggage>,
}

impl ConnectHeaders {
    pub(crate) fn read(headers: &Fields) -> Self {
        Self {
            baggage: text(headers, BAGGAGE).and_then(Baggage::parse),
            forwarded: text(headers, FORWARDED).and_then(Forwarded::parse),
            traceparent: text(headers, TRACEPARENT).and_then(TraceParent::parse),
        }
    }

    pub(crate) fn write(&self, headers: &mut Fields) {
        insert(headers, BAGGAGE, self.baggage.as_ref());
        insert(headers, FORWARDED, self.forwarded.as_ref());
        insert(headers, TRACEPARENT, self.traceparent.as_ref());
    }
}

impl ResponseHeaders {
    pub(crate) fn read(headers: &Fields) -> Self {
        Self {
            baggage: text(headers, BAGGAGE).and_then(Baggage::parse),
        }
    }

    pub(crate) fn write(&self, headers: &mut Fields) {
        insert(headers, BAGGAGE, self.baggage.as_ref());
    }
}

/// The value of a header that is there once, is not too long and is visible ASCII.
pub(crate) fn text<'a>(headers: &'a Fields, name: &str) -> Option<&'a str> {
    let mut values = headers.get(name);
    let value = values.next()?;
    let visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if values.next().is_some() || value.len() > MAX_VALUE || !value.iter().all(visible) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// Adds a header, unless its text could not be sent.
fn insert(headers: &mut Fields, name: &'static str, value: Option<&impl std::fmt::Display>) {
    if let Some(value) = value.map(ToString::to_string)
        && is_sendable(&value)
    {
        headers.set(name, &value);
    }
}

/// Whether a text may be a header's value.
pub(crate) fn is_sendable(value: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | 0x80..);
    value.bytes().all(inner) && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_what_was_written() {
        let headers = ConnectHeaders {
            baggage: Some(Baggage {
                namespace: Some("shop".into()),
                ..Baggage::default()
            }),
            forwarded: Some(Forwarded {
                client: "10.0.0.1:5000".parse().unwrap(),
                host: Some("web.shop".into()),
            }),
            traceparent: Some(TraceParent::random()),
        };
        let mut map = Fields::default();
        headers.write(&mut map);
        assert_eq!(ConnectHeaders::read(&map), headers);
    }

    #[test]
    fn odd_values_are_absent() {
        let mut map = Fields::default();
        map.push(b"baggage", b"k8s.namespace.name=a");
        map.push(b"baggage", b"k8s.namespace.name=b");
        map.push(b"forwarded", b"for=\xff");
        let long = format!("00-{}", "a".repeat(MAX_VALUE));
        map.push(b"traceparent", long.as_bytes());
        assert_eq!(ConnectHeaders::read(&map), ConnectHeaders::default());
        assert!(is_sendable("a b") && !is_sendable("a\nb") && !is_sendable(" a"));
    }
}
