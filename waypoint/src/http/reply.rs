//! reply: what the client gets, from a backend or from here.
//!
//! Invariant: a response that has begun ends as the backend's does, or visibly broken; it is never cut to look whole.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{HeaderMap, Response, StatusCode, Version};

use super::attempt::Answer;
use super::decode::Decoded;
use super::headers::{self, GRPC_STATUS};
use super::normalise::Target;
use super::outbound::Outbound;
use super::pick::Backend;
use super::refusal::Refusal;
use super::reply_body::ReplyBody;
use crate::destination::Arrival;
use crate::routes::Found;
use crate::telemetry::{Record, series};
use crate::world::Session;

const FAULT: HeaderName = HeaderName::from_static("culvert-fault");
const DENY_REASON: HeaderName = HeaderName::from_static("culvert-deny-reason");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The head of a backend's response, as the client gets it.
pub(super) fn head(
    answer: &mut Answer,
    backend: &Backend<'_>,
    record: &mut Record,
) -> Result<Response<()>, Refusal> {
    let status = answer.response.status();
    let mut headers = std::mem::take(answer.response.headers_mut());
    headers::strip(&mut headers).map_err(|_| Refusal::Reset)?;
    record.grpc = headers::grpc_status(&headers);
    for filters in backend.filters.iter().flatten() {
        for change in &filters.response {
            change.apply(&mut headers);
        }
    }
    let endpoint = answer.permit.endpoint();
    backend.affinity.mark(&mut headers, endpoint);
    mark(&mut headers, record);
    record.answered(status);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The head of a backend's consent to change the protocol, if the client asked for it.
pub(super) fn switching(
    answer: &mut Answer,
    backend: &Backend<'_>,
    outbound: &Outbound,
    record: &mut Record,
) -> Result<Response<ReplyBody>, Refusal> {
    let protocol =
        headers::upgrade(answer.response.headers()).filter(|_| outbound.upgrade.is_some());
    let protocol = protocol.ok_or(Refusal::Reset)?;
    let mut headers = std::mem::take(answer.response.headers_mut());
    headers::strip(&mut headers).map_err(|_| Refusal::Reset)?;
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    let endpoint = answer.permit.endpoint();
    backend.affinity.mark(&mut headers, endpoint);
    mark(&mut headers, record);
    record.answered(StatusCode::SWITCHING_PROTOCOLS);
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The answer that sends the client elsewhere, if the rule has one. A rule with a filter that makes no sense is an
/// error.
pub(super) fn redirect(
    found: Option<Found<'_>>,
    session: &Session,
    decoded: &Decoded,
    target: Target<'_>,
    record: &mut Record,
) -> Result<Option<Response<ReplyBody>>, Refusal> {
    let Some(found) = found else { return Ok(None) };
    let filters = found.rule.filters();
    if let Some(reason) = &filters.unresolved {
        return Err(Refusal::Unresolved(reason.clone()));
    }
    let Some(redirect) = &filters.redirect else {
        return Ok(None);
    };
    let port = session.destination.port();
    let scheme = session
        .destination
        .arrival()
        .map_or("http", Arrival::scheme);
    let location = redirect.location(
        scheme,
        decoded.host_name(),
        port,
        target.path,
        target.query,
        found.prefix,
    );
    let location = HeaderValue::try_from(location).map_err(|_| {
        Refusal::Unresolved("the redirect's location is not a header value".to_owned())
    })?;
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = redirect.status;
    response.headers_mut().insert(LOCATION, location);
    for change in &filters.response {
        change.apply(response.headers_mut());
    }
    mark(response.headers_mut(), record);
    record.answered(redirect.status);
    Ok(Some(response))
}

/// An answer of our own. Clients outside the mesh are not told the names of what is inside.
pub(super) fn refuse(
    refusal: &Refusal,
    outside: bool,
    version: Version,
    record: &mut Record,
) -> Response<ReplyBody> {
    let grpc = record.is_grpc();
    let reason = refusal.reason();
    series::refused(reason.as_str());
    if record.flags == "-" || record.flags == "DI" {
        record.flags = refusal.flag();
    }
    let status = if grpc {
        StatusCode::OK
    } else {
        refusal.status()
    };
    let text = if grpc {
        Bytes::new()
    } else if outside {
        tracing::debug!(%reason, %refusal, "request refused");
        Bytes::from(format!("{}\n", reason.as_str()))
    } else {
        Bytes::from(format!("{}: {refusal}\n", reason.as_str()))
    };
    let mut response = Response::new(ReplyBody::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(DENY_REASON, HeaderValue::from_static(reason.as_str()));
    if grpc {
        record.grpc = u8::try_from(refusal.grpc_status()).ok();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(refusal.grpc_status()));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reason.as_str()));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if [StatusCode::BAD_REQUEST, StatusCode::REQUEST_TIMEOUT].contains(&refusal.status()) {
        close(headers, version);
    }
    mark(headers, record);
    record.answered(status);
    response
}

/// Ends an HTTP/1 connection after this response.
pub(super) fn close(headers: &mut HeaderMap, version: Version) {
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Says which fault struck. What a backend says of faults is not ours to repeat.
fn mark(headers: &mut HeaderMap, record: &Record) {
    headers.remove(FAULT);
    if let Some(label) = record.fault {
        headers.insert(FAULT, HeaderValue::from_static(label));
    }
}
