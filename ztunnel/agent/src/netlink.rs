//! Netlink by hand, as much of it as capture needs: requests, acknowledgements and dumps.
//!
//! Invariant: a socket speaks to the network namespace of the thread that opened it, so everything
//! here is synchronous and is called inside `Netns::run`.

pub mod changes;
pub mod conntrack;
pub mod diag;
pub mod nft;
pub mod route;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// With [`NLM_F_CREATE`]: an object that exists is an error.
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
/// The kernel answers at once; waiting longer means that it never will.
const TIMEOUT_SECONDS: i64 = 5;
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A netlink socket of one family.
#[derive(Debug)]
struct Socket(OwnedFd);

/// A request under construction.
#[derive(Debug)]
struct Request(Vec<u8>);

/// One message of an answer: its type and what follows the header.
struct Answer<'a> {
    kind: u16,
    body: &'a [u8],
}

impl Socket {
    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let timeout = TimeVal::seconds(TIMEOUT_SECONDS);
        setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self(fd))
    }

    /// Send a request that changes something and wait for the kernel's verdict.
    fn execute(&self, request: Request, flags: u16) -> io::Result<()> {
        self.send(request, flags | NLM_F_ACK)?;
        self.receive(|_| ())
    }

    /// Send a request for a list and pass each of its elements to `each`.
    fn dump(&self, request: Request, each: impl FnMut(Answer<'_>)) -> io::Result<()> {
        self.send(request, NLM_F_DUMP)?;
        self.receive(each)
    }

    fn send(&self, request: Request, flags: u16) -> io::Result<()> {
        let Request(mut bytes) = request;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        put(&mut bytes, 0, &length.to_ne_bytes());
        put(&mut bytes, 6, &(flags | NLM_F_REQUEST).to_ne_bytes());
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Read until the message that ends an answer.
    fn receive(&self, mut each: impl FnMut(Answer<'_>)) -> io::Result<()> {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((answer, after)) = Answer::split(rest) {
                rest = after;
                match answer.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return verdict(answer.body),
                    _ => each(answer),
                }
            }
        }
    }
}

/// The kernel's verdict: 0, or an errno below it.
fn verdict(body: &[u8]) -> io::Result<()> {
    match read(body, 0).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Request {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, 4, &kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        append(&mut self.0, kind, value);
        self
    }
}

/// Append an attribute, padded as the kernel wants it.
fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The value of an attribute that is made of attributes.
fn nested<const N: usize>(attributes: [(u16, &[u8]); N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes {
        append(&mut bytes, kind, value);
    }
    bytes
}

impl<'a> Answer<'a> {
    /// The first message of `bytes` and what comes after it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32::from_ne_bytes(read(bytes, 0)?)).ok()?;
        let kind = u16::from_ne_bytes(read(bytes, 4)?);
        let body = bytes.get(HEADER..length)?;
        let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((Self { kind, body }, after))
    }

    /// The value of the attribute `kind`, where attributes begin after `skip` bytes.
    fn attribute(&self, skip: usize, kind: u16) -> Option<&'a [u8]> {
        let mut rest = self.body.get(skip..)?;
        loop {
            let length = usize::from(u16::from_ne_bytes(read(rest, 0)?));
            let found = u16::from_ne_bytes(read(rest, 2)?) & NLA_TYPE_MASK;
            let value = rest.get(4..length)?;
            if found == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    fn u32(&self, skip: usize, kind: u16) -> Option<u32> {
        read(self.attribute(skip, kind)?, 0).map(u32::from_ne_bytes)
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let Request(bytes) = Request::new(7, &[9; 4])
            .attribute(1, b"abc")
            .attribute(2 | NLA_F_NESTED, &5u32.to_ne_bytes());
        assert_eq!(bytes.len(), HEADER + 4 + 8 + 8);
        let answer = Answer {
            kind: 7,
            body: &bytes[HEADER..],
        };
        assert_eq!(answer.attribute(4, 1), Some(&b"abc"[..]));
        assert_eq!(answer.u32(4, 2), Some(5));
        assert_eq!(answer.attribute(4, 3), None);
    }

    #[test]
    fn a_cut_or_lying_answer_ends_the_walk() {
        assert!(Answer::split(&[0; 8]).is_none());
        let mut lying = vec![0; HEADER];
        put(&mut lying, 0, &4096u32.to_ne_bytes());
        assert!(Answer::split(&lying).is_none());
        let answer = Answer {
            kind: 0,
            body: &[0xff; 6],
        };
        assert_eq!(answer.attribute(0, 1), None);
        let endless = Answer {
            kind: 0,
            body: &[0; 64],
        };
        assert_eq!(endless.attribute(0, 1), None);
    }
}
