//! A CONNECT that waits for its answer.
//!
//! Invariant: every CONNECT gets exactly one answer; one that is dropped unanswered is reset.

use super::Peer;
use crate::authority::Authority;
use crate::engine::{Fields, Head};
use crate::headers::{ConnectHeaders, ResponseHeaders};
use crate::refusal;
use crate::stream::{StreamHandle, TunnelStream};
use culvert_identity::SpiffeId;
use culvert_policy::DenyReason;
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
    handle: StreamHandle,
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
    pub(super) fn new(handle: StreamHandle, head: &Head, peer: &Peer) -> Option<Self> {
        let authority = head
            .authority
            .as_deref()
            .and_then(|a| std::str::from_utf8(a).ok());
        let authority = authority.map(Authority::parse);
        let reason = match (head.is_connect(), authority) {
            (true, Some(Ok(authority))) => {
                return Some(Self {
                    peer: peer.id.clone(),
                    peer_addr: peer.addr,
                    authority,
                    headers: ConnectHeaders::read(&head.fields),
                    handle,
                });
            }
            (true, _) => DenyReason::AuthorityInvalid,
            (false, _) => DenyReason::MalformedRequest,
        };
        tracing::debug!(peer = %peer.id, addr = %peer.addr, ?head, %reason, "refused");
        refuse(&handle, 400, reason, None);
        None
    }

    /// Opens the stream.
    pub fn accept(self, headers: &ResponseHeaders) -> io::Result<TunnelStream> {
        let mut fields = Fields::default();
        headers.write(&mut fields);
        self.handle
            .with(|c, id| c.answer_with(id, 200, &fields, false))?;
        Ok(TunnelStream::new(self.handle, None))
    }

    /// Refuses the stream. The client learns the reason, and the policy where it may know it.
    pub fn refuse(self, status: u16, reason: DenyReason, policy: Option<&str>) {
        let status = if (300..=599).contains(&status) {
            status
        } else {
            503
        };
        refuse(&self.handle, status, reason, policy);
    }
}

fn refuse(handle: &StreamHandle, status: u16, reason: DenyReason, policy: Option<&str>) {
    let mut fields = Fields::default();
    fields.set(refusal::HEADER, &refusal::format(reason, policy));
    if let Err(error) = handle.with(|c, id| c.answer_with(id, status, &fields, true)) {
        tracing::debug!(%error, "the client left before it was refused");
    }
}
