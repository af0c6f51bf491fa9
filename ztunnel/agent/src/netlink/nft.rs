//! The number of the nftables rule set in a namespace: unchanged means that nobody changed a rule.

use std::io;

use nix::sys::socket::SockProtocol;

use super::{Request, Socket};

/// Subsystem 10 is nftables, message 16 asks for the generation.
const GET_GENERATION: u16 = (10 << 8) | 16;
const NFTA_GEN_ID: u16 = 1;
/// Length of `nfgenmsg`.
const BODY: usize = 4;

/// The rule set's number in the calling thread's namespace.
pub fn ruleset_number() -> io::Result<u32> {
    let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
    let mut number = None;
    socket.send(Request::new(GET_GENERATION, &[0; BODY]), super::NLM_F_ACK)?;
    socket.receive(|answer| {
        let value = answer.attribute(BODY, NFTA_GEN_ID);
        number = number.or(value.and_then(|value| super::read(value, 0)));
    })?;
    number
        .map(u32::from_be_bytes)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
