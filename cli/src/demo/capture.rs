//! The packet capture on the link: tcpdump from the first packet to the last, read while it is written.
//!
//! Invariant: a [`Mark`] separates exactly. It is taken when a datagram of its own was seen in the file, so that all that
//! was sent before is before it.

use crate::demo::packet::{FILE_HEADER, Packet, check_header, next_record};
use anyhow::{Context, Result, ensure};
use culvert_lab::{Node, Pod, Process, topology::LINK, wait};
use std::{
    fs::File,
    net::UdpSocket,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The discard port.
const MARK_PORT: u16 = 9;

/// A place in the capture: an offset in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// The running capture.
#[derive(Debug)]
pub(crate) struct Capture {
    process: Process,
    path: PathBuf,
    marks: u32,
    /// Sends the marks' datagrams across the link.
    from: Pod,
    to: Pod,
}

impl Capture {
    /// Starts capturing everything on a node's end of the link.
    ///
    /// `from` and `to` are pods on different nodes that are never in the mesh.
    pub(crate) fn start(node: &Node, dir: &Path, from: Pod, to: Pod) -> Result<Self> {
        let path = dir.join("link.pcap");
        let file = path.display().to_string();
        let mut argv = vec![
            "tcpdump",
            "-i",
            LINK,
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "65536",
            "-w",
            &file,
        ];
        if nix::unistd::geteuid().is_root() {
            argv.extend(["-Z", "root"]);
        }
        let process = node.net.spawn("tcpdump", &argv)?;
        process.wait_for_log("listening on")?;
        let capture = Self {
            process,
            path,
            marks: 0,
            from,
            to,
        };
        wait::until("the capture file", wait::PATIENCE, || {
            let mut header = [0; FILE_HEADER];
            File::open(&capture.path)?.read_exact_at(&mut header, 0)?;
            check_header(&header).map(Some)
        })?;
        Ok(capture)
    }

    /// Marks this moment.
    pub(crate) fn mark(&mut self) -> Result<Mark> {
        self.marks += 1;
        let nonce = format!("culvert-demo-mark-{}", self.marks);
        let destination = (self.to.ip(), MARK_PORT);
        let sent = self.from.net.enter(|| -> std::io::Result<usize> {
            UdpSocket::bind((self.from.ip(), 0))?.send_to(nonce.as_bytes(), destination)
        })?;
        sent.context("sending a mark")?;
        let mut from = FILE_HEADER as u64;
        wait::until("a mark in the capture", wait::PATIENCE, || {
            let mut found = None;
            from = self.read(from, |packet, end| {
                if packet.has_port(MARK_PORT) && packet.payload == nonce.as_bytes() {
                    found = Some(Mark(end));
                }
            })?;
            Ok(found)
        })
    }

    /// The packets from `mark` to now, and a mark of now.
    pub(crate) fn since(&mut self, mark: Mark) -> Result<Vec<Packet>> {
        let now = self.mark()?;
        let mut packets = Vec::new();
        self.read(mark.0, |packet, end| {
            if end <= now.0 && !packet.has_port(MARK_PORT) {
                packets.push(packet);
            }
        })?;
        Ok(packets)
    }

    /// Ends the capture. Yields how many packets it saw; fails if it missed any.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.mark()?;
        self.process.terminate()?;
        let log = self.process.log();
        let count = |what: &str| -> Result<u64> {
            let line = log
                .lines()
                .find(|line| line.contains(what))
                .with_context(|| format!("{what}: {log}"))?;
            Ok(line.split(' ').next().unwrap_or_default().parse()?)
        };
        let dropped =
            count("packet dropped by kernel").or_else(|_| count("packets dropped by kernel"))?;
        ensure!(
            dropped == 0,
            "the capture missed {dropped} packets, so its evidence has holes"
        );
        count("packets captured")
    }

    /// Reads whole records from offset `from` on; yields the offset after the last one.
    fn read(&self, from: u64, mut each: impl FnMut(Packet, u64)) -> Result<u64> {
        let file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length.saturating_sub(from))?];
        file.read_exact_at(&mut bytes, from)?;
        let mut at = 0;
        while let Some((packet, size)) = next_record(&bytes[at..])? {
            at += size;
            if let Some(packet) = packet {
                each(packet, from + at as u64);
            }
        }
        Ok(from + at as u64)
    }
}
