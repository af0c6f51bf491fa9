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
