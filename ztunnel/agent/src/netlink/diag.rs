//! Lists the TCP sockets of a namespace, and ends connections from outside of the programs that hold them: both ends see
//! a reset.
//!
//! Invariant: what ends is what was listed: the kernel's cookie of each socket goes with the order, so that
//! another socket that took its place meanwhile, or a listener behind it, stays.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockProtocol};

use super::{Answer, NLM_F_ACK, Request, Socket, put, read};
use crate::capture::connections::Connection;

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const IPPROTO_TCP: u8 = 6;
/// States by their bits: all but TIME_WAIT (6), CLOSE (7), LISTEN (10) and NEW_SYN_RECV (12), which hold no
/// connection that could carry anything.
const OPEN: u32 = 0b1011_0011_1110;
/// Where `struct inet_diag_sockid` stands in an answer, and how long it is.
const ID: usize = 4;
const ID_LENGTH: usize = 48;

/// States of a socket, as linux/tcp_states.h numbers them.
pub const ESTABLISHED: u8 = 1;
/// Its own end has finished sending.
pub const FIN_WAIT1: u8 = 4;
/// So it has, and the other knows.
pub const FIN_WAIT2: u8 = 5;
/// It waits for connections.
pub const LISTEN: u8 = 10;

/// A socket.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its addresses.
    pub connection: Connection,
    /// Its state's number.
    pub state: u8,
    family: AddressFamily,
    id: [u8; ID_LENGTH],
}

impl Found {
    /// Of nobody.
    #[cfg(test)]
    pub(crate) fn made(connection: Connection, state: u8) -> Self {
        Self {
            connection,
            state,
            family: AddressFamily::Inet,
            id: [0; ID_LENGTH],
        }
    }

    /// Whether the connection could carry anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state < 32 && OPEN & (1 << self.state) != 0
    }
}

/// Asks about the sockets of the calling thread's network namespace.
#[derive(Debug)]
pub struct Diag(Socket);

impl Diag {
    /// For this namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Socket::open(SockProtocol::NetlinkSockDiag)?))
    }

    /// All TCP sockets, whatever their state.
    pub fn all(&self) -> io::Result<Vec<Found>> {
        self.list(u32::MAX)
    }

    fn list(&self, states: u32) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = request(BY_FAMILY, family, states, &[0; ID_LENGTH]);
            self.0.dump(request, |answer| all.extend(listed(&answer)))?;
        }
        Ok(all)
    }

    /// The state that a socket has now; `None` if it is gone.
    pub fn state(&self, of: &Found) -> io::Result<Option<u8>> {
        Ok(self.look(of.family, &of.id)?.map(|found| found.state))
    }

    /// Whether the other end of a socket's connection is in this namespace too.
    pub fn has_other_end(&self, of: &Found) -> io::Result<bool> {
        let mut id = of.id;
        for (at, from) in [(0, 2), (2, 0)] {
            put(&mut id, at, &read::<2>(&of.id, from).unwrap_or_default());
        }
        for (at, from) in [(4, 20), (20, 4)] {
            put(&mut id, at, &read::<16>(&of.id, from).unwrap_or_default());
        }
        // Of any interface, and whatever its cookie.
        put(&mut id, 36, &[0; 4]);
        put(&mut id, 40, &[0xff; 8]);
        let mirrored = |found: &Found| {
            found.connection.local == of.connection.remote
                && found.connection.remote == of.connection.local
        };
        Ok(self.look(of.family, &id)?.as_ref().is_some_and(mirrored))
    }

    fn look(&self, family: AddressFamily, id: &[u8; ID_LENGTH]) -> io::Result<Option<Found>> {
        self.0
            .send(request(BY_FAMILY, family, u32::MAX, id), NLM_F_ACK)?;
        let mut found = None;
        let asked = self
            .0
            .receive(|answer| found = found.or(listed(&answer).next()));
        match asked {
            Err(error) if is_gone(&error) => Ok(None),
            asked => asked.map(|()| found),
        }
    }

    /// End a socket's connection; `false` if it had ended by itself.
    /// A kernel without `CONFIG_INET_DIAG_DESTROY` says `EOPNOTSUPP`.
    pub fn end(&self, socket: &Found) -> io::Result<bool> {
        let order = request(DESTROY, socket.family, u32::MAX, &socket.id);
        match self.0.execute(order, 0) {
            Err(error) if is_gone(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

/// End those connections of the calling thread's network namespace that are `doomed`; how many there were.
pub fn destroy(doomed: impl Fn(&Connection) -> bool) -> io::Result<usize> {
    let diag = Diag::open()?;
    let mut ended = 0;
    for socket in diag.list(OPEN)? {
        if doomed(&socket.connection) && diag.end(&socket)? {
            ended += 1;
        }
    }
    Ok(ended)
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ENOENT as i32, Errno::ESTALE as i32];
    error
        .raw_os_error()
        .is_some_and(|errno| gone.contains(&errno))
}

/// `struct inet_diag_req_v2`.
fn request(kind: u16, family: AddressFamily, states: u32, id: &[u8; ID_LENGTH]) -> Request {
    let mut body = vec![family as u8, IPPROTO_TCP, 0, 0];
    body.extend_from_slice(&states.to_ne_bytes());
    body.extend_from_slice(id);
    Request::new(kind, &body)
}

/// A socket of the list.
fn listed(answer: &Answer<'_>) -> impl Iterator<Item = Found> + use<> {
    let body = answer.body;
    let parse = || {
        let id: [u8; ID_LENGTH] = read(body, ID)?;
        let [family, state] = read(body, 0)?;
        let v6 = family == AddressFamily::Inet6 as u8;
        let port = |at| read(&id, at).map(u16::from_be_bytes);
        let ip = |at| match v6 {
            true => read::<16>(&id, at).map(|octets| IpAddr::from(octets).to_canonical()),
            false => read::<4>(&id, at).map(IpAddr::from),
        };
        let connection = Connection {
            local: SocketAddr::new(ip(4)?, port(0)?),
            remote: SocketAddr::new(ip(20)?, port(2)?),
        };
        let family = match v6 {
            true => AddressFamily::Inet6,
            false => AddressFamily::Inet,
        };
        Some(Found {
            connection,
            state,
            family,
            id,
        })
    };
    parse().into_iter()
}
