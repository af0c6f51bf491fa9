//! The packet capture on the link: tcpdump from the first packet to the last, read while it is written.
//!
//! Invariant: a [`Mark`] separates exactly. It is taken when a datagram of its own was seen in the file, so that all that
//! was sent before is before it.

use anyhow::{Context, Result, ensure};
use culvert_lab::{
    Node, Pod, Process,
    packet::{FILE_HEADER, Packet, check_header, next_record},
    topology::LINK,
    wait,
};
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
    pub(crate) fn finish(&mut self) -> Result<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{client, servers};

    #[test]
    fn what_crosses_the_link_between_two_marks_is_seen() {
        let name = "demo::capture::tests::what_crosses_the_link_between_two_marks_is_seen";
        culvert_lab::test(name, |lab| {
            let near = lab.pod("n1", "demo", "near", "near")?;
            let far = lab.pod("n2", "demo", "far", "far")?;
            let mut capture =
                Capture::start(lab.node("n1")?, lab.dir(), near.clone(), far.clone())?;
            let server = servers::Server::nginx(lab, &far, servers::Answer::Text("far"))?;
            let url = client::url(&far);
            let one = client::get(&near, &url, &["x-secret: before".into()])?.all_ok()?;
            ensure!(one.with_line("far") == 1);
            let mark = capture.mark()?;
            client::get(
                &near,
                &format!("http://[{}]", far.ip6),
                &["x-secret: between".into()],
            )?
            .all_ok()?;
            let packets = capture.since(mark)?;
            client::get(&near, &url, &["x-secret: after".into()])?.all_ok()?;

            let holds = |text: &str| {
                packets
                    .iter()
                    .any(|packet| packet.contains(text.as_bytes()))
            };
            ensure!(
                holds("x-secret: between")
                    && !holds("x-secret: before")
                    && !holds("x-secret: after")
            );
            ensure!(
                packets
                    .iter()
                    .any(|packet| packet.is_tcp() && packet.has_port(80))
            );
            ensure!(packets.iter().all(|packet| !packet.has_port(MARK_PORT)));

            ensure!(client::download(&near, &format!("{url}/big"))? == servers::BIG);
            let bytes: usize = capture
                .since(mark)?
                .iter()
                .map(|packet| packet.payload.len())
                .sum();
            ensure!(bytes > servers::BIG, "{bytes} captured");
            let many = client::get_many(&near, &url, 300, &[])?.all_ok()?;
            ensure!(
                many.with_line("far") == 300 && many.seconds.len() == 300,
                "{many:?}"
            );
            wait::until("the server's log", wait::PATIENCE, || {
                Ok((server.answered(200)? == 303).then_some(()))
            })?;
            server.check_same_process()?;
            ensure!(capture.finish()? > 100);
            Ok(())
        });
    }
}
