//! The request as it leaves for a backend, once or several times.
//!
//! Invariant: what leaves is what was matched, but for the changes that the rule's filters state.

use std::rc::Rc;
use std::time::Duration;

use culvert_xds::state::AppProtocol;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body::Body as _;

use super::body::{Kept, Progress, RequestBody};
use super::decode::Decoded;
use super::pick::Backend;
use super::refusal::Refusal;
use super::silence::FromClient;
use crate::config::filter::Rewrite;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::HttpVersion;

/// A request for a backend.
#[derive(Debug)]
pub(super) struct Outbound {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Source,
    /// How far the body was sent.
    pub progress: Rc<Progress>,
    /// The protocol to change to.
    pub upgrade: Option<HeaderValue>,
    /// Which HTTP is spoken to an endpoint of which nobody says it.
    version: HttpVersion,
    grpc: bool,
}

/// What is to become of a request's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyWish {
    /// It can be sent more than once.
    pub keep: bool,
    /// How long the client may be silent before its end.
    pub silence: Option<Duration>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Once(Option<FromClient>),
    Kept(Rc<Kept>),
}

impl Outbound {
    /// Applies the filters of rule and backend. What a client in the mesh
    /// speaks, it speaks to the service; one `outside` of it speaks to the gateway, and only gRPC says more of the service.
    pub(super) fn new(
        decoded: Decoded,
        backend: &Backend<'_>,
        outside: bool,
        wish: BodyWish,
    ) -> Result<Self, Refusal> {
        let Decoded {
            parts,
            body,
            host,
            upgrade,
            grpc,
            ..
        } = decoded;
        let mut headers = parts.headers;
        let mut host = host;
        let mut target = parts.uri.into_parts().path_and_query;
        for filters in backend.filters.iter().flatten() {
            for change in &filters.request {
                change.apply(&mut headers);
            }
            if let Some(rewrite) = &filters.rewrite {
                rewrite_target(rewrite, &mut host, &mut target, backend.prefix)?;
            }
        }
        headers.insert(HOST, host);
        let progress = Rc::<Progress>::default();
        let body = if body.is_end_stream() {
            Source::Empty
        } else {
            let body = FromClient::new(body, wish.silence);
            if wish.keep {
                Source::Kept(Kept::new(body, Rc::clone(&progress)))
            } else {
                Source::Once(Some(body))
            }
        };
        Ok(Self {
            method: parts.method,
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers,
            body,
            progress,
            upgrade,
            version: if parts.version == Version::HTTP_2 && (grpc || !outside) {
                HttpVersion::Http2
            } else {
                HttpVersion::Http1
            },
            grpc,
        })
    }

    /// Whether there is no body.
    pub(super) fn is_bodiless(&self) -> bool {
        matches!(self.body, Source::Empty)
    }

    /// The same head without the body.
    pub(super) fn head(&self) -> Self {
        Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: Source::Empty,
            progress: Rc::default(),
            upgrade: None,
            version: self.version,
            grpc: self.grpc,
        }
    }

    /// Which HTTP to speak to an endpoint: what its service says, else what the client lets expect. What a client speaks
    /// in plain text says nothing of a server of TLS, which understands HTTP/1.1 whatever else it does. Only HTTP/1 changes
    /// protocols.
    pub(super) fn version_for(&self, endpoint: &Endpoint) -> HttpVersion {
        if self.upgrade.is_some() {
            return HttpVersion::Http1;
        }
        match endpoint.app_protocol() {
            AppProtocol::Http11 => HttpVersion::Http1,
            AppProtocol::Http2 | AppProtocol::Grpc => HttpVersion::Http2,
            _ if endpoint.tls().is_some() && !self.grpc => HttpVersion::Http1,
            _ => self.version,
        }
    }

    /// Whether the body can be sent again after it was sent in part.
    pub(super) fn can_repeat(&self) -> bool {
        match &self.body {
            Source::Empty => true,
            Source::Once(body) => body.is_some(),
            Source::Kept(kept) => kept.can_repeat(),
        }
    }

    /// The body for one more try; none if it can't be sent again.
    pub(super) fn take_body(&mut self) -> Option<RequestBody> {
        match &mut self.body {
            Source::Empty => Some(RequestBody::empty()),
            Source::Once(body) => body
                .take()
                .map(|body| RequestBody::stream(body, Rc::clone(&self.progress))),
            Source::Kept(kept) => kept.body(),
        }
    }

    /// The kept body, for a mirror. The outer option is none where there is a body that is not kept.
    pub(super) fn kept(&self) -> Option<Option<Rc<Kept>>> {
        match &self.body {
            Source::Empty => Some(None),
            Source::Once(_) => None,
            Source::Kept(kept) => Some(Some(Rc::clone(kept))),
        }
    }

    /// The head for HTTP of `version` at an endpoint, with `body`.
    pub(super) fn request(
        &self,
        version: HttpVersion,
        endpoint: &Endpoint,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, Refusal> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        match version {
            HttpVersion::Http1 => self.for_http1(&mut request),
            HttpVersion::Http2 => {
                let scheme = endpoint.tls().map_or("http", |_| "https");
                self.for_http2(&mut request, scheme)?;
            }
        }
        Ok(request)
    }

    fn for_http1(&self, request: &mut Request<RequestBody>) {
        *request.uri_mut() = Uri::from(self.target.clone());
        let headers = request.headers_mut();
        if let Some(protocol) = &self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        } else if headers.contains_key(TE) {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }

    fn for_http2(&self, request: &mut Request<RequestBody>, scheme: &str) -> Result<(), Refusal> {
        let authority = request.headers_mut().remove(HOST);
        let authority = authority.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(self.target.clone())
            .build()
            .map_err(|_| Refusal::Malformed("malformed target"))?;
        *request.version_mut() = Version::HTTP_2;
        Ok(())
    }
}

fn rewrite_target(
    rewrite: &Rewrite,
    host: &mut HeaderValue,
    target: &mut Option<PathAndQuery>,
    prefix: &str,
) -> Result<(), Refusal> {
    if let Some(hostname) = &rewrite.hostname {
        *host = hostname.clone();
    }
    let Some(change) = &rewrite.path else {
        return Ok(());
    };
    let (path, query) = target
        .as_ref()
        .map_or(("/", None), |target| (target.path(), target.query()));
    let mut changed = change.apply(path, prefix);
    if let Some(query) = query {
        changed.push('?');
        changed.push_str(query);
    }
    let changed = PathAndQuery::try_from(changed);
    *target = Some(
        changed.map_err(|_| Refusal::Unresolved("the rewritten path is not a path".to_owned()))?,
    );
    Ok(())
}
