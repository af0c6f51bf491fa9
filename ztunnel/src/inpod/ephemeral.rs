//! Dialling a pod's application from its client's address, also when that client has used up the kernel's choice of
//! source ports.
//!
//! The kernel chooses a port at connect time, from its ephemeral range, and passes over those that an earlier
//! connection of the same addresses left in TIME_WAIT: after some 28,000 connections within a minute it has none left.
//! An explicitly bound port may be one in TIME_WAIT (the timestamps of TCP keep the two connections apart), so then we
//! choose ourselves, from the whole range, for as long as the shortage can last.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use culvert_runtime::net::{self, SocketOptions};
use culvert_runtime::netns::Netns;
use nix::errno::Errno;
use socket2::Socket;
use tokio::net::TcpStream;

/// How long a connection stays in TIME_WAIT.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Ports tried before a dial fails. Each is taken with the probability that the client's open connections to that one
/// port of the pod fill the range.
const TRIES: usize = 32;

/// Whether a pod's clients use up ports.
#[derive(Debug, Default)]
pub(crate) struct Ephemeral {
    exhausted: Mutex<Option<Instant>>,
}

impl Ephemeral {
    /// Dial `addr` inside `netns` from `client`.
    pub(crate) async fn dial(
        &self,
        netns: &Netns,
        mark: u32,
        client: IpAddr,
        addr: SocketAddr,
        deadline: Duration,
    ) -> io::Result<TcpStream> {
        if !self.is_exhausted() {
            let options = SocketOptions {
                mark: Some(mark),
                source: Some(client),
            };
            let socket = netns.run(|| net::tcp_socket(&addr, &options))??;
            // Without it, an explicitly bound socket could not share the port with this one.
            socket.set_reuse_address(true)?;
            match net::connect(socket, addr, deadline).await {
                Err(error) if is_taken(&error) => self.note_exhausted(),
                other => return other,
            }
        }
        for _ in 1..TRIES {
            match Self::dial_explicitly(netns, mark, client, addr, deadline).await {
                Err(error) if is_taken(&error) => {}
                other => return other,
            }
        }
        Self::dial_explicitly(netns, mark, client, addr, deadline).await
    }

    async fn dial_explicitly(
        netns: &Netns,
        mark: u32,
        client: IpAddr,
        addr: SocketAddr,
        deadline: Duration,
    ) -> io::Result<TcpStream> {
        let socket = netns.run(|| {
            bound(
                mark,
                SocketAddr::new(client, rand::random_range(1024..=u16::MAX)),
                addr,
            )
        })??;
        net::connect(socket, addr, deadline).await
    }

    fn is_exhausted(&self) -> bool {
        let since = *self
            .exhausted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < TIME_WAIT)
    }

    fn note_exhausted(&self) {
        *self
            .exhausted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

fn bound(mark: u32, source: SocketAddr, addr: SocketAddr) -> io::Result<Socket> {
    let socket = net::tcp_socket(
        &addr,
        &SocketOptions {
            mark: Some(mark),
            source: None,
        },
    )?;
    socket.set_reuse_address(true)?;
    if source.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.bind(&source.into())?;
    Ok(socket)
}

fn is_taken(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fresh_netns, in_world, loopback_up};
    use culvert_runtime::net::{ListenOptions, listen};
    use std::io::Read as _;
    use std::net::Ipv4Addr;

    #[test]
    fn a_client_that_used_up_its_ports_still_connects_from_its_address() {
        in_world(
            "inpod::ephemeral::tests::a_client_that_used_up_its_ports_still_connects_from_its_address",
            async || {
                const PORTS: usize = 10;
                let netns = fresh_netns();
                loopback_up(&netns);
                let setup = || {
                    std::fs::write(
                        "/proc/sys/net/ipv4/ip_local_port_range",
                        format!("40000 {}", 39999 + PORTS),
                    )?;
                    listen((Ipv4Addr::LOCALHOST, 0).into(), &ListenOptions::default())
                };
                let listener = netns.run(setup).unwrap().unwrap();
                listener.set_nonblocking(false).unwrap();
                let addr = listener.local_addr().unwrap();
                let client = Ipv4Addr::new(127, 0, 0, 2);
                // The client ends each connection, and so is the one who waits.
                let server = std::thread::spawn(move || {
                    for _ in 0..PORTS * 5 {
                        let (mut stream, peer) = listener.accept().unwrap();
                        assert_eq!(peer.ip(), client);
                        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
                    }
                });
                let ephemeral = Ephemeral::default();
                for _ in 0..PORTS * 5 {
                    let dial =
                        ephemeral.dial(&netns, 1, client.into(), addr, Duration::from_secs(5));
                    drop(dial.await.unwrap());
                }
                assert!(
                    ephemeral.is_exhausted(),
                    "the test has not used up the range"
                );
                server.join().unwrap();
            },
        );
    }
}
