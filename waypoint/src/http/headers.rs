//! Headers that belong to one connection and are never forwarded.
//!
//! Invariant: what a `Connection` header nominates is gone before anything of ours is added, so a client can't delete
//! a header that we set; it can't nominate what frames or addresses the message either.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Not registered with the http crate.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a gateway says of a client's certificate.
pub(super) const FORWARDED_CLIENT_CERT: HeaderName =
    HeaderName::from_static("x-forwarded-client-cert");

/// A `Connection` header that can't be obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Connection header nominates what it may not, or is malformed")]
pub struct ConnectionError;

/// Where a gRPC call's status stands.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Whether they are those of a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The status of a gRPC call, if these headers or trailers have it.
pub fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// Whether `name` belongs to one connection.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        &CONNECTION,
        &TE,
        &TRAILER,
        &TRANSFER_ENCODING,
        &UPGRADE,
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
    ]
    .contains(&name)
        || [&PROXY_AUTHENTICATE, &PROXY_AUTHORIZATION, &HTTP2_SETTINGS].contains(&name)
}

/// Removes headers of the connection and those that `Connection` nominates. `Trailer` stays: it tells which trailers
/// to keep. `TE` is left as `trailers` if it said so.
pub fn strip(headers: &mut HeaderMap) -> Result<(), ConnectionError> {
    if headers.contains_key(CONNECTION) {
        strip_nominated(headers)?;
    }
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| lists(value, "trailers"));
    for name in [
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Removes from trailers what frames, addresses or authorizes a message: it would come too late to be checked.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    for name in [
        CONNECTION,
        CONTENT_LENGTH,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        AUTHORIZATION,
        KEEP_ALIVE,
        FORWARDED_CLIENT_CERT,
    ] {
        trailers.remove(name);
    }
}

fn strip_nominated(headers: &mut HeaderMap) -> Result<(), ConnectionError> {
    let mut nominated = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            if token.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(token).map_err(|_| ConnectionError)?;
            if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
                return Err(ConnectionError);
            }
            nominated.push(name);
        }
    }
    headers.remove(CONNECTION);
    for name in nominated.into_iter().filter(|name| name != TE) {
        headers.remove(name);
    }
    Ok(())
}

/// The protocol that a request or a response switches to, if it asks to.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| lists(value, "upgrade"));
    asked.then(|| headers.get(UPGRADE).cloned()).flatten()
}

/// Whether the comma-separated `value` has the element `token`, in any case.
pub(super) fn lists(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn connection_headers_and_nominated_ones_go() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip"),
            ("trailer", "x-sum"),
            ("x-kept", "3"),
        ]);
        strip(&mut headers).unwrap();
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["trailer", "x-kept"]);
    }

    #[test]
    fn te_trailers_survives_being_nominated() {
        let mut headers = map(&[("connection", "TE"), ("te", "gzip, Trailers")]);
        strip(&mut headers).unwrap();
        assert_eq!(headers.get(TE).unwrap(), "trailers");
        assert!(!headers.contains_key(CONNECTION));
    }

    #[test]
    fn what_frames_or_addresses_cannot_be_nominated() {
        for value in ["host", "Content-Length", "x, transfer-encoding", "a b"] {
            let mut headers = map(&[("host", "a"), ("content-length", "1")]);
            headers.append(CONNECTION, HeaderValue::from_static(value));
            assert_eq!(strip(&mut headers), Err(ConnectionError), "{value}");
        }
    }

    #[test]
    fn upgrades_need_both_headers() {
        assert_eq!(
            upgrade(&map(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket")
            ]))
            .unwrap(),
            "websocket"
        );
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&map(&[("connection", "upgrade")])), None);
    }
}
