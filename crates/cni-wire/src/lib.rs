//! What the CNI plugin and the agent say to each other: one question and one answer over a unix socket, each a line of
//! JSON; with the question comes the descriptor of the pod's network namespace, so that it does not matter which files
//! the agent sees.
//!
//! Invariant: a message is bounded, and one that is not whole is an error.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// The agent's socket, in the run directory.
pub const SOCKET: &str = "cni.sock";
/// What the plugin asks the API with when no agent answers.
const CREDENTIALS: &str = "api.json";
/// The longest message.
pub const LONGEST: usize = 16 * 1024;

/// What the runtime did to a pod's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// It made it. The answer comes when the pod may start.
    Add,
    /// It is about to take it away.
    Del,
}

/// A question of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What is happening.
    pub command: Command,
    /// Of the pod.
    pub namespace: String,
    /// Of the pod.
    pub name: String,
    /// Of the pod; empty where the runtime does not say.
    pub uid: String,
    /// The sandbox.
    pub container: String,
    /// The addresses that the plugins before gave it.
    pub addresses: Vec<IpAddr>,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The pod may start: it is captured, or not in the mesh.
    Start,
    /// It may not, for this reason.
    Refuse(String),
}

/// How to ask the Kubernetes API.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// IP:PORT.
    pub server: String,
    /// Certificates that sign the server's, PEM.
    pub ca: String,
    /// A token of the agent's service account.
    pub token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Where the credentials are: beside the run directory, which ztunnel sees.
#[must_use]
pub fn credentials(run_dir: &Path) -> PathBuf {
    let mut directory = run_dir.as_os_str().to_owned();
    directory.push("-cni");
    Path::new(&directory).join(CREDENTIALS)
}

/// A message as it is sent.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > LONGEST {
        return Err(invalid("the message is too long"));
    }
    Ok(line)
}

/// A message as it was received.
pub fn decode<'a, T: Deserialize<'a>>(line: &'a [u8]) -> io::Result<T> {
    match line.strip_suffix(b"\n") {
        Some(line) => Ok(serde_json::from_slice(line)?),
        None => Err(invalid("the message ends too early")),
    }
}

/// Send a question, with the namespace if there is one.
pub fn ask(
    socket: &UnixStream,
    question: &Question,
    netns: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let line = encode(question)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let netns = netns.as_slice();
    if !netns.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(netns)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(&line)];
    let sent = rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    let rest = line.get(sent..).unwrap_or_default();
    io::Write::write_all(&mut &*socket, rest)
}

/// Receive a question, in blocking mode, and the namespace if one came.
pub fn hear(socket: &UnixStream) -> io::Result<(Question, Option<OwnedFd>)> {
    let mut buffer = vec![0; LONGEST];
    let (mut filled, mut netns) = (0, None);
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        if free.is_empty() {
            return Err(invalid("the message is too long"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(free)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                netns = descriptors.last().or(netns);
            }
        }
        if received.bytes == 0 {
            return Err(invalid("the message ends too early"));
        }
        filled += received.bytes;
        let heard = buffer.get(..filled).unwrap_or_default();
        if heard.ends_with(b"\n") {
            return Ok((decode(heard)?, netns));
        }
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    fn question() -> Question {
        Question {
            command: Command::Add,
            namespace: "demo".into(),
            name: "web".into(),
            uid: "u".into(),
            container: "c".into(),
            addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        }
    }

    #[test]
    fn a_question_brings_its_namespace() {
        let (plugin, agent) = UnixStream::pair().unwrap();
        let own = File::open("/proc/self/ns/net").unwrap();
        ask(&plugin, &question(), Some(own.as_fd())).unwrap();
        let (heard, netns) = hear(&agent).unwrap();
        assert_eq!(heard, question());
        let inode = |file: File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        assert_eq!(inode(netns.unwrap().into()), inode(own));
        ask(&plugin, &question(), None).unwrap();
        assert!(hear(&agent).unwrap().1.is_none());
    }

    #[test]
    fn pieces_are_put_together_and_halves_refused() {
        let line = encode(&question()).unwrap();
        let half = line.len() / 2;
        for (sent, whole) in [(line.clone(), true), (line[..half].to_vec(), false)] {
            let (mut plugin, agent) = UnixStream::pair().unwrap();
            let sending = std::thread::spawn(move || {
                for piece in sent.chunks(7) {
                    plugin.write_all(piece).unwrap();
                }
            });
            let heard = hear(&agent).map(|(heard, _)| heard).ok();
            assert_eq!(heard, whole.then(question));
            sending.join().unwrap();
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        let (mut plugin, agent) = UnixStream::pair().unwrap();
        let sending = std::thread::spawn(move || plugin.write_all(&vec![b'x'; 3 * LONGEST]));
        assert!(hear(&agent).unwrap_err().to_string().contains("too long"));
        drop(agent);
        drop(sending.join().unwrap());
    }

    #[test]
    fn no_debug_text_shows_the_token() {
        let credentials = Credentials {
            server: "10.96.0.1:443".into(),
            ca: "CA".into(),
            token: "SECRET".into(),
        };
        assert!(!format!("{credentials:?}").contains("SECRET"));
    }
}
