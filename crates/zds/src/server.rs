//! The agent's side: listens, learns what kind of ztunnel came, sends it requests.
//!
//! Invariant: a peer that owes an Ack gets no further request; one that did not answer in time is of
//! no more use, because its late Ack would be taken for that of another request.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SocketAddrUnix, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::packet::{Packets, socket};
use crate::sys::register;
use crate::{Message, Workload, ZdsError, message};

/// Connections that may wait for [`Server::accept`].
const BACKLOG: i32 = 16;

/// The listening socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    socket: AsyncFd<OwnedFd>,
    path: PathBuf,
}

/// A connection that has not said Hello yet.
#[derive(Debug)]
pub struct Pending(Packets);

/// A connected ztunnel.
#[derive(Debug)]
pub struct Peer {
    packets: Packets,
    culvert: bool,
    deadline: Duration,
    owes_ack: bool,
}

impl Server {
    /// Listen at `path`, for the owner only. What was at `path` before is replaced in one step.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&new)?)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, BACKLOG)?;
        std::fs::rename(&new, &path)?;
        let socket = register(socket)?;
        Ok(Self { socket, path })
    }

    /// The next connection. Its Hello is awaited apart, so that a silent one delays nobody.
    pub async fn accept(&self) -> io::Result<Pending> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |listener: &OwnedFd| Ok(rustix::net::accept_with(listener.as_fd(), flags)?);
        let socket = self.socket.async_io(Interest::READABLE, accept).await?;
        Packets::new(socket).map(Pending)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the ZDS socket");
        }
    }
}

impl Pending {
    /// Wait for the Hello. `deadline` holds for it and for each later Ack.
    pub async fn hello(self, deadline: Duration) -> Result<Peer, ZdsError> {
        let packet = within(deadline, self.0.receive()).await?;
        let culvert = message::decode_hello(&packet.bare("Hello")?)?;
        Ok(Peer {
            packets: self.0,
            culvert,
            deadline,
            owes_ack: false,
        })
    }
}

impl Peer {
    /// Whether it is a culvert-ztunnel, not a stock one.
    #[must_use]
    pub fn is_culvert(&self) -> bool {
        self.culvert
    }

    /// Hand over a pod and its network namespace.
    pub async fn send_add(
        &mut self,
        workload: Workload,
        netns: BorrowedFd<'_>,
    ) -> Result<(), ZdsError> {
        self.request(&Message::Add(workload), Some(netns)).await
    }

    /// Say that a pod is unchanged. Only a culvert-ztunnel is told.
    pub async fn send_keep(&mut self, uid: &str) -> Result<(), ZdsError> {
        if !self.culvert {
            return Ok(());
        }
        self.request(&Message::Keep(uid.to_owned()), None).await
    }

    /// Take a pod away.
    pub async fn send_del(&mut self, uid: &str) -> Result<(), ZdsError> {
        self.request(&Message::Del(uid.to_owned()), None).await
    }

    /// Say that every pod was named.
    pub async fn send_snapshot(&mut self) -> Result<(), ZdsError> {
        self.request(&Message::SnapshotSent, None).await
    }

    /// Wait until the ztunnel goes away, and say how. For the time between requests; cancel safe.
    pub async fn gone(&mut self) -> ZdsError {
        match self.packets.receive().await {
            Ok(_) => ZdsError::OutOfTurn,
            Err(error) => error,
        }
    }

    async fn request(
        &mut self,
        message: &Message,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<(), ZdsError> {
        if self.owes_ack {
            return Err(ZdsError::OutOfTurn);
        }
        let frame = message.encode(self.culvert)?;
        self.owes_ack = true;
        let packet = within(self.deadline, async {
            self.packets.send(&frame, netns).await?;
            self.packets.receive().await
        });
        let answer = message::decode_ack(&packet.await?.bare("Ack")?)?;
        self.owes_ack = false;
        answer.map_err(ZdsError::Rejected)
    }
}

async fn within<T>(
    deadline: Duration,
    exchange: impl Future<Output = Result<T, ZdsError>>,
) -> Result<T, ZdsError> {
    let elapsed = |_elapsed| ZdsError::Deadline(deadline);
    tokio::time::timeout(deadline, exchange)
        .await
        .map_err(elapsed)?
}
