//! decode: the request as one reading of it, with one host.
//!
//! Invariant: past this step there is exactly one host, in canonical form, and no header of the client's connection.

use http::header::{EXPECT, HOST, HeaderValue};
use http::{Method, Request, Version, request};
use hyper::body::{Body as _, Incoming};

use super::headers;
use super::host::Host;
use super::refusal::Refusal;

/// A request that can be read in one way only.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Method, target and headers, of which `host` is one.
    pub parts: request::Parts,
    /// The body.
    pub body: Incoming,
    /// The canonical host with its port, as it goes to the backend.
    pub host: HeaderValue,
    /// The length of the host's name in `host`.
    name_length: usize,
    /// The protocol that the client wants to change to.
    pub upgrade: Option<HeaderValue>,
    /// Whether answers of our own must be gRPC's.
    pub grpc: bool,
}

impl Decoded {
    /// The host's name without port, in lower case.
    pub(super) fn host_name(&self) -> &str {
        // The value was made from a host, which is ASCII.
        self.host
            .to_str()
            .ok()
            .and_then(|host| host.get(..self.name_length))
            .unwrap_or_default()
    }
}

/// Decodes a request; `default_host` names the destination for clients of HTTP/1.0 that name none.
pub(super) fn decode(request: Request<Incoming>, default_host: &str) -> Result<Decoded, Refusal> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(Refusal::Malformed("CONNECT is not a request to a service"));
    }
    let (host, name_length) = host(&parts, default_host)?;
    parts.headers.insert(HOST, host.clone());
    let http_1 = parts.version < Version::HTTP_2;
    let upgrade = headers::upgrade(&parts.headers)
        .filter(|_| http_1 && parts.version == Version::HTTP_11 && body.is_end_stream())
        .filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
    headers::strip(&mut parts.headers)
        .map_err(|_| Refusal::Malformed("malformed Connection header"))?;
    if let Some(expected) = parts.headers.remove(EXPECT) {
        // The HTTP library answers 100 itself when the body is asked for.
        if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::Expectation);
        }
    }
    let grpc = headers::is_grpc(&parts.headers);
    Ok(Decoded {
        parts,
        body,
        host,
        name_length,
        upgrade,
        grpc,
    })
}

/// The one host that the request names, and the length of its name.
fn host(parts: &request::Parts, default_host: &str) -> Result<(HeaderValue, usize), Refusal> {
    let malformed = |_| Refusal::Malformed("malformed host");
    let mut named = parts.headers.get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Refusal::Malformed("more than one Host header"));
    }
    if let Some(scheme) = parts
        .uri
        .scheme_str()
        .filter(|scheme| !matches!(*scheme, "http" | "https"))
    {
        tracing::debug!(scheme, "request for another scheme");
        return Err(Refusal::Malformed(
            "the target's scheme is neither http nor https",
        ));
    }
    let header_host = header
        .map(|header| Host::parse(header.as_bytes()))
        .transpose()
        .map_err(malformed)?;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let authority_host = authority
        .map(|text| Host::parse(text.as_bytes()))
        .transpose()
        .map_err(malformed)?;
    let host = match (header_host, authority_host) {
        (Some(header), Some(authority)) if header != authority => {
            return Err(Refusal::Malformed(
                "the Host header differs from the target's authority",
            ));
        }
        (Some(host), _) | (None, Some(host)) => host,
        // HTTP/1.1 must have the header even beside an authority; the check is the version's.
        (None, None) if parts.version == Version::HTTP_10 => {
            Host::parse(default_host.as_bytes()).map_err(malformed)?
        }
        (None, None) => return Err(Refusal::Malformed("no Host header")),
    };
    if header.is_none() && parts.version == Version::HTTP_11 {
        return Err(Refusal::Malformed("no Host header"));
    }
    let length = host.name().len();
    let value = match header {
        Some(header) if host.is_verbatim(header.as_bytes()) => header.clone(),
        _ => HeaderValue::try_from(host.to_string())
            .map_err(|_| Refusal::Malformed("malformed host"))?,
    };
    Ok((value, length))
}
