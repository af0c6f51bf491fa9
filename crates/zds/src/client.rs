//! The ztunnel's side: says Hello, receives requests, answers each with one Ack.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::packet::{Packet, Packets};
use crate::{DecodeError, Message, Workload, ZdsError, decode, message};

/// A connection to the agent.
#[derive(Debug)]
pub struct Client(Packets);

/// A request of the agent.
#[derive(Debug)]
pub enum Request {
    /// Serve this pod, whose network namespace this is. For a uid that is served already: in a
    /// namespace that is not the same as before, replace it; in the same one, take over what changed.
    Add(Workload, OwnedFd),
    /// The pod of this uid is unchanged. An error if it is not known.
    Keep(String),
    /// Stop serving the pod of this uid.
    Del(String),
    /// What was not named on this connection until now no longer exists.
    SnapshotSent,
}

impl Client {
    /// Connect to the agent's socket and say Hello.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ZdsError> {
        let packets = Packets::connect(path.as_ref())?;
        packets.send(&message::encode_hello(), None).await?;
        Ok(Self(packets))
    }

    /// The next request, or `None` when the agent closed the connection. Each has to be answered by
    /// [`Client::ack`] before the next comes. A malformed one is answered here and skipped.
    pub async fn recv(&mut self) -> Result<Option<Request>, ZdsError> {
        loop {
            let malformed = match self.0.receive().await {
                Ok(packet) => match request(packet) {
                    Ok(request) => return Ok(Some(request)),
                    Err(malformed) => malformed,
                },
                Err(ZdsError::Closed) => return Ok(None),
                Err(ZdsError::Decode(malformed)) => malformed,
                Err(error) => return Err(error),
            };
            tracing::warn!(error = %malformed, "malformed request of the agent");
            self.ack(Err(malformed.to_string())).await?;
        }
    }

    /// Answer the last request.
    pub async fn ack(&mut self, result: Result<(), String>) -> Result<(), ZdsError> {
        let result = result.as_ref().copied().map_err(String::as_str);
        self.0.send(&message::encode_ack(result), None).await?;
        Ok(())
    }
}

/// Match the message with its descriptors.
fn request(packet: Packet) -> Result<Request, DecodeError> {
    let message = decode(&packet.frame)?;
    let (name, wanted) = (message.name(), message.descriptors());
    let found = packet.descriptors.len();
    if found != wanted {
        return Err(DecodeError::Descriptors {
            message: name,
            found,
            wanted,
        });
    }
    let mut descriptors = packet.descriptors.into_iter();
    Ok(match (message, descriptors.next()) {
        (Message::Add(workload), Some(netns)) => Request::Add(workload, netns),
        (Message::Keep(uid), None) => Request::Keep(uid),
        (Message::Del(uid), None) => Request::Del(uid),
        (Message::SnapshotSent, None) => Request::SnapshotSent,
        _ => {
            return Err(DecodeError::Descriptors {
                message: name,
                found,
                wanted,
            });
        }
    })
}
