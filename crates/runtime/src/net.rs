//! Sockets as the proxies need them: marked past the capture rules, bound to a client's address,
//! told of the original destination, kept alive, and dialled with a deadline.
//!
//! Invariant: options are set before the first packet leaves, and no dial waits for ever. The socket is
//! made in one step (inside a [`crate::netns::Netns`] where needed) and dialled in another.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

mod sys;

pub use sys::least_round_trip;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(180);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);
const KEEPALIVE_PROBES: u32 = 9;

/// How an outgoing socket is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// `SO_MARK`, which lets the socket past the capture rules.
    pub mark: Option<u32>,
    /// Dial from this address, which need not be local (transparent bind). The port is chosen at
    /// connect time, so that one client can have as many connections as there are 4-tuples.
    pub source: Option<IpAddr>,
}

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// `SO_MARK`; accepted connections inherit it.
    pub mark: Option<u32>,
    /// Accept connections to addresses that are not local (TPROXY).
    pub transparent: bool,
    /// Let a successor listen beside this process.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            mark: None,
            transparent: false,
            reuse_port: false,
            backlog: 1024,
        }
    }
}

/// A TCP socket for dialling `addr`, made in the current thread's network namespace.
pub fn tcp_socket(addr: &SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = new_socket(addr)?;
    set_options(&SockRef::from(&socket))?;
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if let Some(source) = options.source {
        let source = source.to_canonical();
        if source.is_ipv4() != addr.is_ipv4() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("source {source} and destination {addr} are of different families"),
            ));
        }
        set_transparent(&socket, addr)?;
        setsockopt(&socket.as_fd(), sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Dial `addr` with a socket made by [`tcp_socket`], for at most `deadline`.
pub async fn connect(
    socket: Socket,
    addr: SocketAddr,
    deadline: Duration,
) -> io::Result<TcpStream> {
    if connects_at_once(&socket, addr)? {
        return TcpStream::from_std(socket.into());
    }
    let stream = TcpStream::from_std(socket.into())?;
    let connected = async {
        stream.writable().await?;
        stream.take_error()?.map_or(Ok(()), Err)
    };
    tokio::time::timeout(deadline, connected)
        .await
        .map_err(|_elapsed| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("connect to {addr} took over {deadline:?}"),
            )
        })??;
    Ok(stream)
}

/// Begin to connect; whether that is all. Over loopback the kernel has shaken hands before the call returns, but says so
/// only when asked again: one call then saves the wait for an event.
fn connects_at_once(socket: &Socket, addr: SocketAddr) -> io::Result<bool> {
    let addr = addr.into();
    let begun = |result: io::Result<()>| match result {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EISCONN) => Ok(true),
            Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR) => Ok(false),
            _ => Err(error),
        },
    };
    Ok(begun(socket.connect(&addr))? || begun(socket.connect(&addr))?)
}

/// Listen on `addr` in the current thread's network namespace. `[::]` takes IPv4 as well. The listener
/// is non-blocking, ready for `tokio::net::TcpListener::from_std`. What it accepts has no delay and
/// keepalive: the kernel passes both on, which saves five system calls a connection.
pub fn listen(addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = new_socket(&addr)?;
    set_options(&SockRef::from(&socket))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if options.transparent {
        set_transparent(&socket, &addr)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Where the client of a redirected connection wanted to go. An error when the connection was not
/// redirected by the kernel: the caller must not guess. The client's address tells the family.
pub fn original_dst(stream: &impl AsFd, client: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let address = if canonical(client).is_ipv4() {
        socket.original_dst_v4()?
    } else {
        socket.original_dst_v6()?
    };
    address.as_socket().map(canonical).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "original destination is not an IP address",
        )
    })
}

/// The one form of an address: an IPv4-mapped IPv6 address becomes IPv4.
#[must_use]
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Make the next close of `stream` a reset rather than an orderly end.
pub fn set_reset_on_close(stream: &impl AsFd) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// End a connection whose other side takes nothing of what was sent to it for `after`, be it gone or unwilling.
pub fn end_when_stalled(stream: &impl AsFd, after: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(after))
}

fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

fn new_socket(addr: &SocketAddr) -> io::Result<Socket> {
    let ty = Type::STREAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(*addr), ty, Some(Protocol::TCP))
}

fn set_transparent(socket: &Socket, addr: &SocketAddr) -> io::Result<()> {
    if addr.is_ipv4() {
        socket.set_ip_transparent_v4(true)
    } else {
        socket.set_ip_transparent_v6(true)
    }
}

#[cfg(test)]
mod tests;
