//! Ends TCP connections from outside of the programs that hold them: both ends see a reset.
//!
//! Invariant: what ends is what was listed: the kernel's cookie of each socket goes with the order, so that
//! another socket that took its place meanwhile, or a listener behind it, stays.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockProtocol};

use super::{Answer, Request, Socket, read};
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

/// End those connections of the calling thread's network namespace that are `doomed`; how many there were.
/// A kernel without `CONFIG_INET_DIAG_DESTROY` says `EOPNOTSUPP`.
pub fn destroy(doomed: impl Fn(&Connection) -> bool) -> io::Result<usize> {
    let socket = Socket::open(SockProtocol::NetlinkSockDiag)?;
    let mut ended = 0;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut ids = Vec::new();
        socket.dump(
            request(BY_FAMILY, family, OPEN, &[0; ID_LENGTH]),
            |answer| {
                ids.extend(listed(&answer).filter(|(connection, _)| doomed(connection)));
            },
        )?;
        for (_, id) in ids {
            match socket.execute(request(DESTROY, family, u32::MAX, &id), 0) {
                // It ended by itself.
                Err(error) if is_gone(&error) => {}
                result => {
                    result?;
                    ended += 1;
                }
            }
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

/// A socket of the list, and what names it.
fn listed(answer: &Answer<'_>) -> impl Iterator<Item = (Connection, [u8; ID_LENGTH])> + use<> {
    let body = answer.body;
    let parse = || {
        let id: [u8; ID_LENGTH] = read(body, ID)?;
        let v6 = *body.first()? == AddressFamily::Inet6 as u8;
        let port = |at| read(&id, at).map(u16::from_be_bytes);
        let ip = |at| match v6 {
            true => read::<16>(&id, at).map(|octets| IpAddr::from(octets).to_canonical()),
            false => read::<4>(&id, at).map(IpAddr::from),
        };
        let connection = Connection {
            local: SocketAddr::new(ip(4)?, port(0)?),
            remote: SocketAddr::new(ip(20)?, port(2)?),
        };
        Some((connection, id))
    };
    parse().into_iter()
}
