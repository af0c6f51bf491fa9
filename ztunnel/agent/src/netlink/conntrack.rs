//! Tells connection tracking of connections that were open before capture.
//!
//! Without this the first packet after the rules came would look new, be redirected in the middle of
//! its connection and reset it. An entry without translation lets the connection go on around the mesh.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockProtocol};

use super::{NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, Request, Socket, nested};
use crate::capture::connections::Connection;

/// Subsystem 1 is connection tracking, message 0 a new entry.
const CT_NEW: u16 = 1 << 8;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
/// Both directions seen, assured, confirmed.
const STATUS: u32 = 0b1110;
/// The kernel's own default for an established connection: 5 days.
const TIMEOUT: u32 = 432_000;
const TCP_ESTABLISHED: u8 = 3;
/// Flags and their mask: do not check windows, which began before the entry.
const BE_LIBERAL: [u8; 2] = [0x08, 0x08];
const IPPROTO_TCP: u8 = 6;

/// Enter `connections` as established and not translated.
pub fn insert(connections: &[Connection]) -> io::Result<()> {
    if connections.is_empty() {
        return Ok(());
    }
    let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
    for connection in connections {
        match socket.execute(entry(connection), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            result => result?,
        }
    }
    Ok(())
}

fn entry(connection: &Connection) -> Request {
    let family = match connection.local {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let tcp = nested([(1, &[TCP_ESTABLISHED]), (4, &BE_LIBERAL), (5, &BE_LIBERAL)]);
    let info = nested([(1 | NLA_F_NESTED, &tcp)]);
    let there = tuple(connection.local, connection.remote);
    let back = tuple(connection.remote, connection.local);
    Request::new(CT_NEW, &[family as u8, 0, 0, 0])
        .attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, &there)
        .attribute(CTA_TUPLE_REPLY | NLA_F_NESTED, &back)
        .attribute(CTA_STATUS, &STATUS.to_be_bytes())
        .attribute(CTA_PROTOINFO | NLA_F_NESTED, &info)
        .attribute(CTA_TIMEOUT, &TIMEOUT.to_be_bytes())
}

fn tuple(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let addresses = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            nested([(1, &source.octets()[..]), (2, &destination.octets())])
        }
        (source, destination) => {
            let (source, destination) = (v6(source), v6(destination));
            nested([(3, &source[..]), (4, &destination)])
        }
    };
    let ports = nested([
        (1, &[IPPROTO_TCP][..]),
        (2, &source.port().to_be_bytes()),
        (3, &destination.port().to_be_bytes()),
    ]);
    nested([(1 | NLA_F_NESTED, &addresses), (2 | NLA_F_NESTED, &ports)])
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
