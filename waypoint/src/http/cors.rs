//! cors: what pages of other origins may do with the answer, and the answer to their question before (the preflight).
//!
//! Invariants: authorization comes first, so that this gives nobody an answer who would get none; whatever a backend says of
//! other origins does not count where a route has a say.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};

use super::decode::Decoded;
use super::headers::lists;
use super::reply_body::ReplyBody;
use crate::config::cors::{Allowed, Cors};
use crate::routes::Found;

/// What only the rule says.
const OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// What is said of the answer to one request.
#[derive(Debug)]
pub(super) struct Sharing {
    cors: Arc<Cors>,
    /// The origin that may read it, as it is told.
    with: Option<HeaderValue>,
}

/// What the request's rule says, if it says anything and can be served.
pub(super) fn sharing(found: Option<Found<'_>>, decoded: &Decoded) -> Option<Box<Sharing>> {
    let filters = found?.rule.filters();
    let cors = filters.cors.as_ref()?;
    if filters.unresolved.is_some() {
        return None;
    }
    let with = if cors.is_same_for_all() {
        // Also where nobody asks: a cache may give the answer to somebody who does.
        Some(HeaderValue::from_static("*"))
    } else {
        let origin = only(&decoded.parts.headers, &ORIGIN);
        origin.filter(|origin| cors.allows(origin)).cloned()
    };
    Some(Box::new(Sharing {
        cors: Arc::clone(cors),
        with,
    }))
}

impl Sharing {
    /// The answer to a preflight, if the request is one. It goes to no backend, whoever it comes from.
    pub(super) fn preflight(&self, decoded: &Decoded) -> Option<Response<ReplyBody>> {
        let (asked, cors) = (&decoded.parts.headers, &self.cors);
        let is_preflight = decoded.parts.method == Method::OPTIONS
            && asked.contains_key(ORIGIN)
            && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.tell(headers);
        if self.with.is_none() {
            return Some(response);
        }
        let told = |allowed: &Option<Allowed>, name: &HeaderName| match allowed.as_ref()? {
            Allowed::Listed(value) => Some(value.clone()),
            Allowed::Any if !cors.credentials => Some(HeaderValue::from_static("*")),
            Allowed::Any => only(asked, name).filter(|value| is_list(value)).cloned(),
        };
        if let Some(methods) = told(&cors.methods, &ACCESS_CONTROL_REQUEST_METHOD) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(names) = told(&cors.headers, &ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.clone());
        Some(response)
    }

    /// Says who may read an answer.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        for name in &OURS {
            headers.remove(name);
        }
        if !self.cors.is_same_for_all() {
            vary(headers);
        }
        let Some(with) = &self.with else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, with.clone());
        if self.cors.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if let Some(names) = &self.cors.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
}

/// Keeps caches from giving one origin's answer to another.
fn vary(headers: &mut HeaderMap) {
    let known = |value: &HeaderValue| lists(value, "origin") || lists(value, "*");
    if !headers.get_all(VARY).iter().any(known) {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// The one value of a header; none if there are several.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// Whether it is names with commas between them, which can be repeated to who sent it.
fn is_list(value: &HeaderValue) -> bool {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    value.as_bytes().iter().all(known)
}
