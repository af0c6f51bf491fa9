//! The sockets that a captured pod's traffic is led to, made inside the pod's network namespace.
//!
//! Invariants: all of them or none; every one is made before the thread leaves the namespace and none is used before
//! that; another process may listen beside us (SO_REUSEPORT), so that a successor can take over without a gap.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use culvert_runtime::net::{self, ListenOptions};
use culvert_runtime::netns::Netns;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::proxy::ports;

/// One set for each pod. Dual-stack, or IPv4 alone where the kernel has no IPv6.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// What applications of the pod dial.
    pub(crate) outbound: TcpListener,
    /// What reaches the pod in plain text.
    pub(crate) inbound: TcpListener,
    /// What reaches the pod over HBONE.
    pub(crate) hbone: TcpListener,
    /// DNS questions over TCP.
    pub(crate) dns_tcp: TcpListener,
    /// DNS questions over UDP, one socket an address family.
    pub(crate) dns_udp: Vec<UdpSocket>,
}

impl Listeners {
    /// Make them in `netns`, marked so that the capture rules leave their own packets alone.
    pub(crate) fn bind(netns: &Netns, mark: u32) -> io::Result<Self> {
        netns.run(|| {
            Ok(Self {
                outbound: tcp(ports::OUTBOUND, mark)?,
                inbound: tcp(ports::INBOUND, mark)?,
                hbone: tcp(ports::HBONE, mark)?,
                dns_tcp: tcp(ports::DNS, mark)?,
                dns_udp: udp(ports::DNS, mark)?,
            })
        })?
    }
}

fn tcp(port: u16, mark: u32) -> io::Result<TcpListener> {
    let options = ListenOptions {
        mark: Some(mark),
        reuse_port: true,
        ..ListenOptions::default()
    };
    let both = net::listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), &options);
    both.or_else(|error| match lacks_ipv6(&error) {
        true => net::listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), &options),
        false => Err(error),
    })
    .map_err(|error| on_port(&error, port))
}

fn udp(port: u16, mark: u32) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = vec![dns_socket(
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        mark,
    )?];
    match dns_socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), mark) {
        Ok(socket) => sockets.push(socket),
        Err(error) if lacks_ipv6(&error) => {}
        Err(error) => return Err(on_port(&error, port)),
    }
    Ok(sockets)
}

/// Receives what TPROXY leads to it, together with the resolver that the application asked.
fn dns_socket(addr: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = udp_socket(addr, mark)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv4() {
        setsockopt(&socket.as_fd(), sockopt::Ipv4OrigDstAddr, &true)?;
    } else {
        socket.set_only_v6(true)?;
        setsockopt(&socket.as_fd(), sockopt::Ipv6OrigDstAddr, &true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// A UDP socket that sends from `resolver`, an address that need not be local. In the current namespace.
pub(crate) fn reply_socket(resolver: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = udp_socket(resolver, mark)?;
    socket.bind(&resolver.into())?;
    Ok(socket.into())
}

/// A UDP socket that talks to `resolver` only. In the current namespace.
pub(crate) fn question_socket(resolver: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(resolver),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    socket.set_mark(mark)?;
    socket.connect(&resolver.into())?;
    Ok(socket.into())
}

fn udp_socket(addr: SocketAddr, mark: u32) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    socket.set_mark(mark)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn on_port(error: &io::Error, port: u16) -> io::Error {
    io::Error::new(error.kind(), format!("port {port}: {error}"))
}
