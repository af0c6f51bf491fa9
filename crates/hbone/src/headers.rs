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

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

/// A longer value is treated as absent.
const MAX_VALUE: usize = 4096;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        Self {
            baggage: text(headers, &BAGGAGE).and_then(Baggage::parse),
            forwarded: text(headers, &FORWARDED).and_then(Forwarded::parse),
            traceparent: text(headers, &TRACEPARENT).and_then(TraceParent::parse),
        }
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        insert(headers, BAGGAGE, self.baggage.as_ref());
        insert(headers, FORWARDED, self.forwarded.as_ref());
        insert(headers, TRACEPARENT, self.traceparent.as_ref());
    }
}

impl ResponseHeaders {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        Self {
            baggage: text(headers, &BAGGAGE).and_then(Baggage::parse),
        }
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        insert(headers, BAGGAGE, self.baggage.as_ref());
    }
}

/// The value of a header that is there once, is not too long and is visible ASCII.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > MAX_VALUE {
        return None;
    }
    value.to_str().ok()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&impl std::fmt::Display>) {
    if let Some(value) = value.and_then(|v| HeaderValue::try_from(v.to_string()).ok()) {
        headers.insert(name, value);
    }
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
        let mut map = HeaderMap::new();
        headers.write(&mut map);
        assert_eq!(ConnectHeaders::read(&map), headers);
    }

    #[test]
    fn odd_values_are_absent() {
        let mut map = HeaderMap::new();
        map.append(BAGGAGE, HeaderValue::from_static("k8s.namespace.name=a"));
        map.append(BAGGAGE, HeaderValue::from_static("k8s.namespace.name=b"));
        map.append(FORWARDED, HeaderValue::from_bytes(b"for=\xff").unwrap());
        let long = format!("00-{}", "a".repeat(MAX_VALUE));
        map.append(TRACEPARENT, HeaderValue::try_from(long).unwrap());
        assert_eq!(ConnectHeaders::read(&map), ConnectHeaders::default());
    }
}
