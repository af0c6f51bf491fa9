//! A longer way between the two nodes: every packet takes its time, and of a lossy way some never arrive.
//!
//! The kernel's own means (netem) is missing on many machines and in many containers, so this is ours everywhere: a TUN
//! device on each node, and between them a thread for each direction. It costs processor time of its own, which every
//! subject pays alike and nobody's proxies are charged with.
//!
//! Invariant: a packet arrives after its delay, as it was and in order, or not at all; what is dropped for want of room is
//! an error in the end, never a figure.

mod line;
mod sys;

use anyhow::{Context, Result, ensure};
use culvert_lab::Lab;
use line::{Line, Lost};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::SigSet, time::TimeSpec},
    unistd,
};
use std::{
    io, mem,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What both nodes call it.
const DEVICE: &str = "longway";
/// Packets that the device itself may hold: a window of segments that come at once.
const DEVICE_QUEUE: u32 = 10_000;
/// A segment of 64 KiB with the header that says how to cut it.
const LARGEST: usize = 65_536 + 64;
/// How often a thread looks whether it should end.
const GLANCE: Duration = Duration::from_millis(100);
/// So many packets are read before those that are due are sent.
const AT_ONCE: usize = 64;

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    /// For one direction.
    pub(crate) delay: Duration,
    /// Of a million packets of either direction.
    pub(crate) lost_of_million: u32,
}

/// The wire; its devices are gone when it is dropped.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    ends: [OwnedFd; 2],
    /// None while nothing is led over it.
    way: Mutex<Option<Way>>,
    overflown: AtomicU64,
    over: AtomicBool,
}

impl Wire {
    /// Lays it, unused.
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        let [one, two] = lab.nodes();
        let end = |node: &culvert_lab::Node| -> Result<OwnedFd> {
            let end = node.net.enter(|| sys::open(DEVICE))?;
            let end = end.context("a TUN device (needs /dev/net/tun and the right to use it)")?;
            node.net.script(&format!(
                "ip link set {DEVICE} txqueuelen {DEVICE_QUEUE} up"
            ))?;
            Ok(end)
        };
        let shared = Arc::new(Shared {
            ends: [end(one)?, end(two)?],
            way: Mutex::new(None),
            overflown: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let direction = |from: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("wire {from}"))
                .spawn(move || {
                    if let Err(error) = shared.carry(from) {
                        eprintln!("the wire broke: {error}");
                    }
                })
        };
        let threads = vec![direction(0)?, direction(1)?];
        Ok(Self { shared, threads })
    }

    /// Leads everything between the nodes' pods over it, or with none over their link again. Whether that is a change.
    pub(crate) fn lead(&self, lab: &Lab, way: Option<Way>) -> Result<bool> {
        let overflown = self.shared.overflown.swap(0, Ordering::Relaxed);
        ensure!(
            overflown == 0,
            "the wire had no room for {overflown} packets"
        );
        if mem::replace(&mut *self.shared.way(), way) == way {
            return Ok(false);
        }
        if let Some(way) = way {
            for end in &self.shared.ends {
                // Packets are lost one by one, as on a real wire, not 64 KiB at once.
                sys::offload(end, way.lost_of_million == 0)?;
            }
        }
        lab.lead_over(way.map(|_| DEVICE))?;
        Ok(true)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn way(&self) -> std::sync::MutexGuard<'_, Option<Way>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One direction, until the wire is over.
    fn carry(&self, from: usize) -> io::Result<()> {
        let [source, sink] = match from {
            0 => [&self.ends[0], &self.ends[1]],
            _ => [&self.ends[1], &self.ends[0]],
        };
        let mut line = Line::new(from as u64);
        while !self.over.load(Ordering::Relaxed) {
            let (delay, lost) = match *self.way() {
                Some(way) => (way.delay, way.lost_of_million),
                None => (Duration::ZERO, 0),
            };
            for _ in 0..AT_ONCE {
                let mut packet = line.room(LARGEST);
                let Some(length) = read(source, &mut packet)? else {
                    line.give_back(packet);
                    break;
                };
                packet.truncate(length);
                let lost = line.take(packet, Instant::now() + delay, lost);
                if lost == Some(Lost::NoRoom) {
                    self.overflown.fetch_add(1, Ordering::Relaxed);
                }
            }
            while let Some(packet) = line.due(Instant::now()) {
                write(sink, &packet)?;
                line.give_back(packet);
            }
            wait(source, line.next().map_or(GLANCE, |next| next.min(GLANCE)))?;
        }
        Ok(())
    }
}

fn read(end: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    match unistd::read(end, into) {
        Ok(length) => Ok(Some(length)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A packet that the kernel takes for a wrong one is lost, as on any wire.
fn write(end: &OwnedFd, packet: &[u8]) -> io::Result<()> {
    match unistd::write(end, packet) {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::EINVAL | Errno::ENOMEM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn wait(end: &OwnedFd, at_most: Duration) -> io::Result<()> {
    let mut waiting = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    match ppoll(
        &mut waiting,
        Some(TimeSpec::from_duration(at_most)),
        None::<SigSet>,
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    const ALL: u32 = 1_000_000;
    const SOON: Duration = Duration::from_millis(500);

    #[test]
    fn packets_take_their_time_and_may_be_lost() {
        culvert_lab::test(
            "wire::tests::packets_take_their_time_and_may_be_lost",
            |lab| {
                let client = lab.pod("n1", "wire", "client", "client")?;
                let server = lab.pod("n2", "wire", "server", "server")?;
                let address = SocketAddr::new(server.ip(), 7);
                let listener = server.net.enter(|| TcpListener::bind(address))??;
                let connect = || -> Result<Duration> {
                    let begin = Instant::now();
                    client
                        .net
                        .enter(|| TcpStream::connect_timeout(&address, SOON))??;
                    listener.accept()?;
                    Ok(begin.elapsed())
                };
                let wire = Wire::open(lab)?;
                let delay = Duration::from_millis(50);
                let slow = Way {
                    delay,
                    lost_of_million: 0,
                };
                connect()?;
                assert!(wire.lead(lab, Some(slow))?);
                assert!(!wire.lead(lab, Some(slow))?);
                let took = connect()?;
                assert!(took >= 2 * delay, "{took:?}");
                let broken = Way {
                    lost_of_million: ALL,
                    ..slow
                };
                wire.lead(lab, Some(broken))?;
                assert!(connect().is_err());
                wire.lead(lab, None)?;
                connect()?;
                Ok(())
            },
        );
    }
}
