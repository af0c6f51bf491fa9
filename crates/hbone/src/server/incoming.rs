//! A CONNECT that waits for its answer.
//!
//! Invariant: every CONNECT gets exactly one answer; one that is dropped unanswered is reset.

use super::Peer;
use crate::authority::Authority;
use crate::error::io_error;
use crate::headers::{ConnectHeaders, ResponseHeaders};
use crate::refusal;
use crate::stream::TunnelStream;
use bytes::Bytes;
use culvert_identity::SpiffeId;
use culvert_policy::DenyReason;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A stream that a client wants to open.
pub struct Incoming {
    /// Who the client proved to be.
    pub peer: SpiffeId,
    /// The client's address.
    pub peer_addr: SocketAddr,
    /// Where it wants to go.
    pub authority: Authority,
    /// What it says of itself, for telemetry only.
    pub headers: ConnectHeaders,
    respond: SendResponse<Bytes>,
    recv: RecvStream,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("peer", &self.peer)
            .field("peer_addr", &self.peer_addr)
            .field("authority", &self.authority)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// The request, if it is one that anybody should see; others are answered here.
    pub(super) fn new(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        peer: &Peer,
    ) -> Option<Self> {
        let (head, recv) = request.into_parts();
        let is_connect =
            head.method == Method::CONNECT && head.extensions.get::<h2::ext::Protocol>().is_none();
        let authority = head.uri.authority().map(|a| Authority::parse(a.as_str()));
        let reason = match (is_connect, authority) {
            (true, Some(Ok(authority))) => {
                return Some(Self {
                    peer: peer.id.clone(),
                    peer_addr: peer.addr,
                    authority,
                    headers: ConnectHeaders::read(&head.headers),
                    respond,
                    recv,
                });
            }
            (true, _) => DenyReason::AuthorityInvalid,
            (false, _) => DenyReason::MalformedRequest,
        };
        tracing::debug!(peer = %peer.id, addr = %peer.addr, method = %head.method, uri = %head.uri, %reason, "refused");
        refuse(&mut respond, StatusCode::BAD_REQUEST, reason, None);
        None
    }

    /// Opens the stream.
    pub fn accept(mut self, headers: &ResponseHeaders) -> io::Result<TunnelStream> {
        let mut response = Response::new(());
        headers.write(response.headers_mut());
        let send = self
            .respond
            .send_response(response, false)
            .map_err(io_error)?;
        Ok(TunnelStream::new(send, self.recv, None))
    }

    /// Refuses the stream. The client learns the reason, and the policy where it may know it.
    pub fn refuse(mut self, status: u16, reason: DenyReason, policy: Option<&str>) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        refuse(&mut self.respond, status, reason, policy);
    }
}

fn refuse(
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    reason: DenyReason,
    policy: Option<&str>,
) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(refusal::HEADER, refusal::format(reason, policy));
    if let Err(error) = respond.send_response(response, true) {
        tracing::debug!(%error, "the client left before it was refused");
    }
}
