//! Tells when somebody changes rules or routes in a namespace: whoever it is, ourselves too, and with whatever tool but
//! iptables-legacy, of which the kernel tells nobody.
//!
//! Invariant: a change that comes after [`Changes::clear`] is told of, also one of which the kernel could not say more
//! than that something was lost. A subscription keeps its namespace, so whoever has one gives it up with the pod.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Groups by their numbers in linux/netfilter/nfnetlink.h (NFNLGRP) and linux/rtnetlink.h (RTNLGRP).
const NFTABLES: u32 = 7;
const IPV4_ROUTE: u32 = 7;
const IPV4_RULE: u32 = 8;
const IPV6_ROUTE: u32 = 11;
const IPV6_RULE: u32 = 19;
/// Of what is told nothing is read but that it is.
const BUFFER: usize = 4096;

/// Open sockets, not yet waited for.
#[derive(Debug)]
pub struct Subscription([OwnedFd; 2]);

/// Sockets that are waited for.
#[derive(Debug)]
pub struct Changes([AsyncFd<OwnedFd>; 2]);

impl Subscription {
    /// To the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self([
            join(SockProtocol::NetlinkNetFilter, &[NFTABLES])?,
            join(
                SockProtocol::NetlinkRoute,
                &[IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE],
            )?,
        ]))
    }
}

fn join(protocol: SockProtocol, groups: &[u32]) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let groups = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

impl Changes {
    /// Wait for it in the calling task's runtime.
    pub fn new(Subscription([rules, routes]): Subscription) -> io::Result<Self> {
        let [rules, routes] = [rules, routes].map(culvert_zds::register);
        Ok(Self([rules?, routes?]))
    }

    /// Wait until something was told since the last [`Self::clear`].
    pub async fn told(&self) -> io::Result<()> {
        let [rules, routes] = &self.0;
        // What made it ready stays there.
        tokio::select! {
            ready = rules.readable() => ready.map(drop),
            ready = routes.readable() => ready.map(drop),
        }
    }

    /// Forget what was told until now. Whether that was anything.
    pub fn clear(&self) -> io::Result<bool> {
        let mut any = false;
        for fd in &self.0 {
            let cleared = fd.try_io(Interest::READABLE, |fd| {
                let mut buffer = [0; BUFFER];
                loop {
                    match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                        // More than the socket's buffer holds was told.
                        Ok(1..) | Err(Errno::ENOBUFS) => any = true,
                        Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Err(Errno::EINTR) => {}
                        Err(errno) => return io::Result::<()>::Err(errno.into()),
                    }
                }
            });
            match cleared {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => result?,
            }
        }
        Ok(any)
    }
}
