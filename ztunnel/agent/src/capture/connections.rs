//! TCP connections of a pod, read from `/proc`: those that were open before its capture, and those that
//! ztunnel carries to its applications.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::rules::{DNS_PORT, HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT};

/// An open connection of a pod with somebody outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// The pod's side.
    pub local: SocketAddr,
    /// The other.
    pub remote: SocketAddr,
}

/// States in which data can still flow: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK.
const OPEN: [&str; 5] = ["01", "04", "05", "08", "09"];

/// Where ztunnel listens in a pod.
pub(super) const MESH_PORTS: [u16; 4] = [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT, DNS_PORT];

/// A connection that is being opened.
const SYN_SENT: &str = "02";

/// The open connections in the calling thread's namespace, without those between the namespace's `own`
/// addresses.
pub fn open(own: &[IpAddr]) -> io::Result<Vec<Connection>> {
    let inside = |ip: IpAddr| ip.is_loopback() || own.contains(&ip);
    let mut open = read(&OPEN)?;
    open.retain(|open| !inside(open.remote.ip()) && inside(open.local.ip()));
    Ok(open)
}

/// How many connections ztunnel has with the applications of the calling thread's namespace: their local
/// address is the client's, which is none of the namespace's `own`.
pub fn carried(own: &[IpAddr]) -> io::Result<usize> {
    let inside = |ip: IpAddr| ip.is_loopback() || own.contains(&ip);
    let states = [&OPEN[..], &[SYN_SENT]].concat();
    let open = read(&states)?;
    Ok(open.iter().filter(|open| !inside(open.local.ip())).count())
}

/// Whether this end of a connection is ztunnel's: a connection that it dialled as [`carried`] has it, or one that it
/// accepted.
pub fn is_ztunnels(connection: &Connection, own: &[IpAddr]) -> bool {
    let local = connection.local;
    let inside = local.ip().is_loopback() || own.contains(&local.ip());
    !inside || MESH_PORTS.contains(&local.port())
}

/// How many of the connections that are redirected to ztunnel from the calling thread's namespace are open.
pub fn redirected() -> io::Result<usize> {
    let open = read(&OPEN)?;
    let ports = [OUTBOUND_PORT, DNS_PORT];
    Ok(open
        .iter()
        .filter(|open| ports.contains(&open.local.port()))
        .count())
}

/// The connections that are in one of `states`.
fn read(states: &[&str]) -> io::Result<Vec<Connection>> {
    // `/proc/net` would be the namespace of the process's first thread.
    let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let v6 = match fs::read_to_string("/proc/thread-self/net/tcp6") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let lines = v4.lines().chain(v6.lines());
    Ok(lines.filter_map(|line| parse(line, states)).collect())
}

/// A line of the table; `None` for the heading and for other states.
fn parse(line: &str, states: &[&str]) -> Option<Connection> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if !states.contains(&state) {
        return None;
    }
    Some(Connection {
        local: address(local)?,
        remote: address(remote)?,
    })
}

/// An address as the table prints it: words in the machine's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = ip.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_the_kernels_tables() {
        let v4 = "   0: 0200010A:1F90 0100010A:C350 01 00000000:00000000 00:00000000 0 0 0";
        let expected = Connection {
            local: "10.1.0.2:8080".parse().unwrap(),
            remote: "10.1.0.1:50000".parse().unwrap(),
        };
        assert_eq!(parse(v4, &OPEN), Some(expected));
        let mapped = "1: 0000000000000000FFFF00000200010A:1F90 \
                      0000000000000000FFFF00000100010A:C350 08 rest";
        assert_eq!(parse(mapped, &OPEN), Some(expected));
        let v6 =
            "1: 010000FD000000000000000002000000:1F90 010000FD000000000000000001000000:0050 01 x";
        assert_eq!(
            parse(v6, &OPEN).unwrap().local,
            "[fd00:1::2]:8080".parse().unwrap()
        );
    }

    #[test]
    fn skips_what_is_not_open_or_not_a_line() {
        for line in [
            "  sl  local_address rem_address   st tx_queue",
            "0: 0200010A:1F90 00000000:0000 0A x",
            "0: 0200010A:1F90 0100010A:C350 06 x",
            "0: 02:1F90 0100010A:C350 01 x",
            "0: 0200010A 0100010A:C350 01 x",
            "",
        ] {
            assert_eq!(parse(line, &OPEN), None, "{line}");
        }
    }
}
