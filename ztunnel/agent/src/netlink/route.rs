//! The routing half of capture: packets that carry the route mark are delivered to this host, whatever
//! their destination, by a rule and a table of one local route.
//!
//! Invariant: only exactly this rule and this route are ever added, looked for or removed.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockProtocol};

use super::{Answer, NLM_F_CREATE, NLM_F_EXCL, Request, Socket};
use crate::capture::rules::{Family, ROUTE_MARK};

/// The table that holds the one local route.
pub const TABLE: u8 = 100;
/// Before the main table's rule, after anything that an administrator usually adds.
const PRIORITY: u32 = 32764;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TABLE: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RT_SCOPE_HOST: u8 = 254;
const RTPROT_BOOT: u8 = 3;
/// Length of both `rtmsg` and `fib_rule_hdr`.
const BODY: usize = 12;

/// Which half is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The rule that sends marked packets to the table.
    pub rule: bool,
    /// The table's local route.
    pub route: bool,
}

/// What of it is there.
pub fn present(family: Family) -> io::Result<Present> {
    let socket = Socket::open(SockProtocol::NetlinkRoute)?;
    let loopback = loopback()?;
    let mut present = Present::default();
    let header = [&[family_byte(family)][..], &[0; BODY - 1]].concat();
    socket.dump(Request::new(RTM_GETRULE, &header), |answer| {
        present.rule |= answer.kind == RTM_NEWRULE && is_our_rule(&answer);
    })?;
    socket.dump(Request::new(RTM_GETROUTE, &header), |answer| {
        present.route |= answer.kind == RTM_NEWROUTE && is_our_route(&answer, loopback);
    })?;
    Ok(present)
}

/// Add what is missing. The route comes first: the rule without it would send marked packets on.
pub fn add(family: Family) -> io::Result<()> {
    let socket = Socket::open(SockProtocol::NetlinkRoute)?;
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let route = socket.execute(route(family, RTM_NEWROUTE)?, flags);
    except(route, Errno::EEXIST)?;
    except(
        socket.execute(rule(family, RTM_NEWRULE), flags),
        Errno::EEXIST,
    )
}

/// Remove both, the rule first.
pub fn remove(family: Family) -> io::Result<()> {
    let socket = Socket::open(SockProtocol::NetlinkRoute)?;
    except(socket.execute(rule(family, RTM_DELRULE), 0), Errno::ENOENT)?;
    let removed = socket.execute(route(family, RTM_DELROUTE)?, 0);
    except(removed, Errno::ESRCH)
}

fn is_our_rule(answer: &Answer<'_>) -> bool {
    answer.u32(BODY, FRA_PRIORITY) == Some(PRIORITY)
        && answer.u32(BODY, FRA_FWMARK) == Some(ROUTE_MARK.value)
        && answer.u32(BODY, FRA_FWMASK) == Some(ROUTE_MARK.mask)
        && answer.u32(BODY, FRA_TABLE) == Some(u32::from(TABLE))
}

fn is_our_route(answer: &Answer<'_>, loopback: u32) -> bool {
    // rtmsg: family, length of the destination (0 is the default route), ..., type in byte 7.
    answer.body.get(1) == Some(&0)
        && answer.body.get(7) == Some(&RTN_LOCAL)
        && answer.u32(BODY, RTA_TABLE) == Some(u32::from(TABLE))
        && answer.u32(BODY, RTA_OIF) == Some(loopback)
}

fn rule(family: Family, kind: u16) -> Request {
    let mut body = [0; BODY];
    body[0] = family_byte(family);
    body[4] = TABLE;
    body[7] = FR_ACT_TO_TABLE;
    Request::new(kind, &body)
        .attribute(FRA_PRIORITY, &PRIORITY.to_ne_bytes())
        .attribute(FRA_FWMARK, &ROUTE_MARK.value.to_ne_bytes())
        .attribute(FRA_FWMASK, &ROUTE_MARK.mask.to_ne_bytes())
}

fn route(family: Family, kind: u16) -> io::Result<Request> {
    let mut body = [0; BODY];
    body[0] = family_byte(family);
    body[4] = TABLE;
    body[5] = RTPROT_BOOT;
    body[6] = RT_SCOPE_HOST;
    body[7] = RTN_LOCAL;
    Ok(Request::new(kind, &body).attribute(RTA_OIF, &loopback()?.to_ne_bytes()))
}

fn loopback() -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex("lo")?)
}

fn family_byte(family: Family) -> u8 {
    let family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    // The numbers of both fit.
    family as u8
}

/// Take one error for success.
fn except(result: io::Result<()>, harmless: Errno) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(harmless as i32) => Ok(()),
        result => result,
    }
}
