//! A SEQPACKET socket that sends and receives one packet with its descriptors.
//!
//! Invariant: every received descriptor is owned from the start, so that refusing a packet closes
//! what came with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::register;
use crate::{DecodeError, MAX_FRAME, ZdsError};

/// Room for more descriptors than belong to any packet, so that a surplus is seen and closed.
const MAX_DESCRIPTORS: usize = 16;

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Packets(AsyncFd<OwnedFd>);

/// What one packet brought.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) frame: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Packets {
    /// Take over a non-blocking SEQPACKET socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        register(socket).map(Self)
    }

    /// Connect to the socket at `path`.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::new(socket)
    }

    /// Send one packet.
    pub(crate) async fn send(
        &self,
        frame: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let send = |socket: &OwnedFd| send_now(socket, frame, descriptor);
        self.0.async_io(Interest::WRITABLE, send).await
    }

    /// Receive one packet. Cancel safe.
    pub(crate) async fn receive(&self) -> Result<Packet, ZdsError> {
        let (packet, whole) = self.0.async_io(Interest::READABLE, receive_now).await?;
        if packet.frame.is_empty() && packet.descriptors.is_empty() {
            return Err(ZdsError::Closed);
        }
        if !whole {
            return Err(DecodeError::Truncated.into());
        }
        Ok(packet)
    }
}

impl Packet {
    /// The frame of a message that comes without descriptors.
    pub(crate) fn bare(self, message: &'static str) -> Result<Vec<u8>, DecodeError> {
        match self.descriptors.len() {
            0 => Ok(self.frame),
            found => Err(DecodeError::Descriptors {
                message,
                found,
                wanted: 0,
            }),
        }
    }
}

/// A new socket of the protocol's kind.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

fn send_now(socket: &OwnedFd, frame: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let frame = [IoSlice::new(frame)];
    rustix::net::sendmsg(socket, &frame, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The packet, and whether all of it fitted.
fn receive_now(socket: &OwnedFd) -> io::Result<(Packet, bool)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut frame = vec![0; MAX_FRAME];
    let received = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut frame)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    frame.truncate(received.bytes);
    let lost = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    let whole = !received.flags.intersects(lost);
    Ok((Packet { frame, descriptors }, whole))
}
