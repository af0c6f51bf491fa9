//! Connections that changed their protocol, WebSocket for example: bytes both ways, as long as the permit holds.
//!
//! Invariant: nothing of the client's goes on before the backend has agreed.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::attempt::Answer;
use super::reply_body::Place;
use crate::permit::Permit;
use crate::relay::relay;
use crate::telemetry::Record;
use crate::upstream::endpoint::InFlight;
use crate::upstream::pool::Lease;

/// What a change of protocol holds until its end.
#[derive(Debug)]
pub(super) struct Upgrade {
    lease: Lease,
    permit: Permit,
    _in_flight: InFlight,
    _place: Place,
}

/// Where a request leaves its change of protocol for its connection.
#[derive(Debug, Default)]
pub(super) struct UpgradeSlot(RefCell<Option<(Box<Upgrade>, Record)>>);

impl UpgradeSlot {
    /// Leaves it.
    pub(super) fn set(&self, upgrade: Box<Upgrade>, record: Record) {
        self.0.replace(Some((upgrade, record)));
    }

    /// Takes it, once the connection has written the response.
    pub(super) fn take(&self) -> Option<(Box<Upgrade>, Record)> {
        self.0.take()
    }
}

impl Upgrade {
    /// The change to which `answer` agreed.
    pub(super) fn new(answer: Answer, place: Place) -> Self {
        Self {
            lease: answer.lease,
            permit: answer.permit,
            _in_flight: answer.in_flight,
            _place: place,
        }
    }

    /// Carries bytes until both sides have ended. `early` and `held` came from the client already.
    pub(super) async fn run<S>(
        self: Box<Self>,
        mut client: S,
        early: Bytes,
        held: Vec<u8>,
        mut record: Record,
        idle: Duration,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            lease,
            permit,
            _in_flight,
            _place,
        } = *self;
        let mut backend = lease
            .switched()
            .await
            .ok_or(io::ErrorKind::ConnectionReset)?;
        let read = std::mem::take(&mut backend.read);
        let copy = async {
            backend.io.write_all(&early).await?;
            backend.io.write_all(&held).await?;
            client.write_all(&read).await?;
            let (carried, result) = relay(&mut client, &mut backend.io, idle).await;
            record.received = carried.a_to_b + early.len() as u64 + held.len() as u64;
            record.sent = carried.b_to_a + read.len() as u64;
            result
        };
        let result = tokio::select! {
            biased;
            () = permit.revoked() => Err(io::ErrorKind::PermissionDenied.into()),
            copied = copy => copied,
        };
        if result.is_err() {
            record.flags = "UC";
            backend.io.reset();
        }
        result
    }
}
