//! Plaintext that goes around the mesh to a port where none is taken: connections from before the pod was captured, and
//! those that came while somebody had flushed its rules.
//!
//! What ztunnel carries to an application has its other end, ztunnel's own socket, in the same namespace; what comes
//! from another pod has not. What the pod itself dialled is not looked at: that is for the other side to refuse.
//!
//! Invariant: only a connection is ended that an application accepted at its pod's own address, on a strict port that is
//! not excluded, from somebody who is neither in the pod, nor a probe, nor ztunnel.

use std::collections::HashSet;
use std::net::IpAddr;
use std::{fs, io};

use super::connections::{Connection, MESH_PORTS};
use super::rules::{DNS_PORT, Family, OUTBOUND_PORT};
use crate::netlink::diag::{Diag, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, Found, LISTEN};
use crate::pod::{CaptureOptions, Strict};

/// Where the kernel takes the ports of those who dial from.
const DIALLED_FROM: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What is to be ended.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Where nothing but mutual TLS is taken.
    pub strict: Strict,
    /// What is excluded, and what is probed.
    pub options: CaptureOptions,
    /// Connections that were there before the rules were.
    pub before: Vec<Connection>,
    /// Who may have a probe open that began before probes had an address of their own.
    pub probing: Vec<IpAddr>,
}

/// End them in the calling thread's namespace, which has the addresses `own`; how many there were.
pub(super) fn end(doomed: &Doomed, own: &[IpAddr]) -> io::Result<usize> {
    let diag = Diag::open()?;
    let found = diag.all()?;
    let mut ended = 0;
    for socket in doomed.of(&found, own, &dialled_from()) {
        // The list is not of one moment: what was accepted while it was made may be on it without its other end.
        // That was there first, so it is there now, unless it has ended, and then this end is not open as it was.
        let carried = diag.has_other_end(&socket)?;
        if !carried && diag.state(&socket)? == Some(socket.state) && diag.end(&socket)? {
            let Connection { local, remote } = socket.connection;
            tracing::info!(%local, %remote, "plaintext to a strict port: ended");
            ended += 1;
        }
    }
    Ok(ended)
}

impl Doomed {
    fn of(&self, found: &[Found], own: &[IpAddr], dialled_from: &Ports) -> Vec<Found> {
        let listening = found.iter().filter(|socket| socket.state == LISTEN);
        let listening: HashSet<u16> = listening.map(|it| it.connection.local.port()).collect();
        let others = found.iter().filter(|socket| socket.state != LISTEN);
        let ends: HashSet<Connection> = others.map(|socket| socket.connection).collect();
        // What an application dialled, as ztunnel accepted it.
        let redirected: HashSet<_> = ends
            .iter()
            .filter(|end| [OUTBOUND_PORT, DNS_PORT].contains(&end.local.port()))
            .map(|end| end.remote)
            .collect();
        let is = |socket: &&Found| {
            let Connection { local, remote } = socket.connection;
            let before = self.before.contains(&socket.connection);
            // By somebody who listens no more.
            let looks_accepted =
                !dialled_from.contains(&local.port()) && dialled_from.contains(&remote.port());
            let accepted = listening.contains(&local.port()) || (before && looks_accepted);
            let mirrored = Connection {
                local: remote,
                remote: local,
            };
            self.is_open(socket, before)
                && self.is_strict(&socket.connection, own)
                && accepted
                && !redirected.contains(&local)
                && !ends.contains(&mirrored)
        };
        found.iter().filter(is).copied().collect()
    }

    /// Of a connection that may have been ztunnel's, the other end is forgotten when it has been closed for a while.
    fn is_open(&self, socket: &Found, before: bool) -> bool {
        [ESTABLISHED, FIN_WAIT1, FIN_WAIT2].contains(&socket.state) || (before && socket.is_open())
    }

    fn is_strict(&self, connection: &Connection, own: &[IpAddr]) -> bool {
        let (local, remote) = (connection.local, connection.remote);
        let inside = |ip: IpAddr| ip.is_loopback() || own.contains(&ip);
        let port = local.port();
        let source = Family::of(remote.ip()).probe_source().parse::<IpAddr>();
        let probe = source == Ok(remote.ip())
            || (self.options.probe_ports.contains(&port) && self.probing.contains(&remote.ip()));
        self.strict.covers(port)
            && own.contains(&local.ip())
            && !local.ip().is_loopback()
            && !inside(remote.ip())
            && !MESH_PORTS.contains(&port)
            && !self.options.exclude_inbound_ports.contains(&port)
            && !probe
    }
}

type Ports = std::ops::RangeInclusive<u16>;

fn dialled_from() -> Ports {
    let read = fs::read_to_string(DIALLED_FROM).unwrap_or_default();
    let mut ports = read.split_whitespace().map(str::parse::<u16>);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        // The kernel's own default.
        _ => 32_768..=60_999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE_WAIT: u8 = 8;
    const OWN: &str = "10.0.0.5";

    fn connection(local: &str, remote: &str) -> Connection {
        Connection {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    /// Which remote ends are doomed, where the pod listens at 8080.
    fn doomed(change: impl Fn(&mut Doomed), sockets: &[(&str, &str, u8)]) -> Vec<String> {
        let mut doomed = Doomed {
            strict: Strict {
                every_port: true,
                ports: [9090].into(),
            },
            options: CaptureOptions::default(),
            before: Vec::new(),
            probing: Vec::new(),
        };
        change(&mut doomed);
        let listens = ("[::]:8080", "[::]:0", LISTEN);
        let sockets = sockets.iter().chain([&listens]);
        let sockets: Vec<_> = sockets
            .map(|(l, r, s)| Found::made(connection(l, r), *s))
            .collect();
        let own = [OWN, "127.0.0.1", "fd00::5"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let found = doomed.of(&sockets, &own, &(32_768..=60_999));
        found
            .iter()
            .map(|it| it.connection.remote.to_string())
            .collect()
    }

    const PLAIN: (&str, &str, u8) = ("10.0.0.5:8080", "10.0.0.9:40000", ESTABLISHED);

    #[test]
    fn what_an_application_accepted_from_elsewhere() {
        let none = |_: &mut Doomed| {};
        let v6 = ("[fd00::5]:8080", "[fd00::9]:40001", FIN_WAIT2);
        assert_eq!(
            doomed(none, &[PLAIN, v6]),
            ["10.0.0.9:40000", "[fd00::9]:40001"]
        );
        for (what, sockets) in [
            (
                "carried by ztunnel",
                vec![PLAIN, ("10.0.0.9:40000", "10.0.0.5:8080", FIN_WAIT1)],
            ),
            (
                "within the pod",
                vec![("10.0.0.5:8080", "10.0.0.5:40000", ESTABLISHED)],
            ),
            (
                "on loopback",
                vec![("127.0.0.1:8080", "127.0.0.1:40000", ESTABLISHED)],
            ),
            (
                "what ztunnel dialled for a client",
                vec![("10.0.0.9:8080", "10.0.0.7:40000", ESTABLISHED)],
            ),
            (
                "a probe",
                vec![("10.0.0.5:8080", "169.254.7.127:40000", ESTABLISHED)],
            ),
            (
                "HBONE",
                vec![
                    ("10.0.0.5:15008", "10.0.0.9:40000", ESTABLISHED),
                    ("[::]:15008", "[::]:0", LISTEN),
                ],
            ),
            (
                "dialled",
                vec![("10.0.0.5:40000", "10.0.0.9:8080", ESTABLISHED)],
            ),
            (
                "dialled from where it listens",
                vec![
                    ("10.0.0.5:8080", "192.0.2.1:443", ESTABLISHED),
                    ("10.0.0.5:15001", "10.0.0.5:8080", ESTABLISHED),
                ],
            ),
            (
                "of a client that has gone",
                vec![("10.0.0.5:8080", "10.0.0.9:40000", CLOSE_WAIT)],
            ),
        ] {
            assert!(doomed(none, &sockets).is_empty(), "{what}");
        }
    }

    #[test]
    fn only_where_it_is_strict_and_captured() {
        assert!(doomed(|d| d.strict.ports = [8080].into(), &[PLAIN]).is_empty());
        assert!(
            doomed(
                |d| d.options.exclude_inbound_ports = [8080].into(),
                &[PLAIN]
            )
            .is_empty()
        );
        let probed = |d: &mut Doomed| {
            d.options.probe_ports = [8080].into();
            d.probing = vec!["10.0.0.1".parse().unwrap()];
        };
        let probe = ("10.0.0.5:8080", "10.0.0.1:40000", ESTABLISHED);
        assert_eq!(doomed(probed, &[PLAIN, probe]), ["10.0.0.9:40000"]);
    }

    #[test]
    fn of_what_was_there_before_also_what_nobody_listens_for_any_more() {
        let dialled = ("10.0.0.5:1000", "10.0.0.9:2049", ESTABLISHED);
        let closed = ("10.0.0.5:7000", "10.0.0.9:40000", CLOSE_WAIT);
        let known = |d: &mut Doomed| {
            d.before = [closed, dialled].map(|(l, r, _)| connection(l, r)).into();
        };
        assert_eq!(doomed(known, &[closed, dialled]), ["10.0.0.9:40000"]);
        assert!(doomed(|_| {}, &[closed, dialled]).is_empty());
    }
}
