//! The capture rules of one pod, as tables, chains and rules in the words in which `iptables-save`
//! prints them, so that what was meant can be compared with what is there. Pure.
//!
//! Invariant: every rule stands in a chain of our own; of the built-in chains only the jump into ours
//! is ours. `docs/capture.md` explains each rule.

pub mod nft;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::pod::CaptureOptions;

/// Where ztunnel takes outbound connections.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where ztunnel takes plaintext that came for the pod.
pub const INBOUND_PORT: u16 = 15006;
/// Where ztunnel takes HBONE.
pub const HBONE_PORT: u16 = 15008;
/// Where ztunnel takes DNS.
pub const DNS_PORT: u16 = 15053;
/// Where applications send DNS.
const DNS: u16 = 53;
/// The mesh's own ports, to which nothing else is let past.
pub const OWN_PORTS: [u16; 4] = [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT, DNS_PORT];
/// The tables that hold rules of ours, in the order in which they are put in force.
pub const TABLES: [&str; 4] = ["raw", "mangle", "nat", "filter"];
/// Chains of ours begin so.
pub const CHAIN_PREFIX: &str = "CULVERT_";
/// What the rule set's generation is written after, in a comment.
pub const GENERATION_COMMENT: &str = "culvert generation ";
/// Marks packets that the routing half delivers to this host.
pub const ROUTE_MARK: Mark = Mark {
    value: 0x111,
    mask: 0xfff,
};

const PREROUTING: &str = "CULVERT_PREROUTING";
const INPUT: &str = "CULVERT_INPUT";
const OUTPUT: &str = "CULVERT_OUTPUT";
const POSTROUTING: &str = "CULVERT_POSTROUTING";
/// First packets of TCP connections, after `-m tcp` and perhaps a `!`.
const SYN: &str = "--tcp-flags FIN,SYN,RST,ACK SYN";
/// Conntrack zone of the connections that ztunnel opens to the pod's applications.
const ZONE: u16 = 1;

/// An address family, each with a rule set of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Its loopback address, as a host route.
    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "::1",
        }
    }

    /// The address that the node's own probes come from.
    #[must_use]
    pub fn probe_source(self) -> &'static str {
        match self {
            Self::V4 => "169.254.7.127",
            Self::V6 => "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
        }
    }

    /// Of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Length of a host's own network.
    #[must_use]
    pub fn host_length(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    fn holds(self, net: &IpNet) -> bool {
        matches!(
            (self, net),
            (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_))
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A packet mark and which of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The bits.
    pub value: u32,
    /// Those that count.
    pub mask: u32,
}

impl Mark {
    /// The mark of a stock ztunnel.
    pub const STOCK: Self = Self {
        value: culvert_zds::WELL_KNOWN_MARK,
        mask: 0xfff,
    };

    /// A mark that nobody can guess, and that the routing half does not take for its own.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let value: u32 = rand::random();
            if value > ROUTE_MARK.mask && value & ROUTE_MARK.mask != ROUTE_MARK.value {
                let mask = u32::MAX;
                return Self { value, mask };
            }
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask != u32::MAX {
            write!(f, "/{:#x}", self.mask)?;
        }
        Ok(())
    }
}

/// What kind of ztunnel the rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// Ours: a mark of the pod's own; DNS over UDP keeps its original destination.
    Culvert,
    /// Stock: the well-known mark; its DNS socket takes redirected packets only.
    Stock,
}

/// Everything that the rules of one pod depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Of ztunnel's own sockets.
    pub mark: Mark,
    /// Of the sockets of a ztunnel of the other kind that was there before, while it may have some.
    pub former: Option<Mark>,
    /// Kind of ztunnel.
    pub flavour: Flavour,
    /// Exclusions and DNS.
    pub options: CaptureOptions,
    /// Rises whenever one of the others changes.
    pub generation: u64,
}

/// A rule set in the words of both kinds of tool.
pub trait Rules: Sync {
    /// For `iptables`, in the order in which they are put in force.
    fn tables(&self, family: Family) -> Vec<Table>;
    /// Name of the table for `nft`.
    fn table(&self) -> &'static str;
    /// What is in it.
    fn chains(&self, ipv6: bool) -> Vec<nft::Chain>;
}

impl Rules for Spec {
    fn tables(&self, family: Family) -> Vec<Table> {
        Self::tables(self, family).into()
    }

    fn table(&self) -> &'static str {
        nft::TABLE
    }

    fn chains(&self, ipv6: bool) -> Vec<nft::Chain> {
        Self::chains(self, ipv6)
    }
}

/// One table of a rule set.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// `raw`, `mangle`, `nat`, `filter`.
    pub name: &'static str,
    /// The jumps into our chains stand first in theirs.
    pub first: bool,
    /// Built-in chain, and its rule that jumps into ours.
    pub jumps: Vec<(&'static str, String)>,
    /// Chains of ours with their rules.
    pub chains: Vec<(&'static str, Vec<String>)>,
}

impl Spec {
    /// The tables, as in [`TABLES`].
    #[must_use]
    pub fn tables(&self, family: Family) -> [Table; 4] {
        [
            self.raw(),
            self.mangle(family),
            self.nat(family),
            self.filter(family),
        ]
    }

    /// Connections that ztunnel opens to the application carry the client's own address, and may carry
    /// the client's port too: without a zone of their own they could meet the client's captured
    /// connection in conntrack and be translated with it.
    fn raw(&self) -> Table {
        let rules = self
            .marks()
            .map(|mark| format!("-o lo -p tcp -m mark --mark {mark} -j CT --zone-orig {ZONE}"));
        Table {
            name: "raw",
            first: true,
            jumps: vec![self.jump("OUTPUT", "", OUTPUT)],
            chains: vec![(OUTPUT, rules.collect())],
        }
    }

    /// Brings the application's answers to ztunnel although they are addressed to the client, and DNS
    /// over UDP although it is addressed to the resolver.
    fn mangle(&self, family: Family) -> Table {
        let (route, loopback) = (ROUTE_MARK, family.loopback());
        let dialled = self.marks().map(|mark| {
            format!(
                "-i lo -p tcp -m mark --mark {mark} -m conntrack --ctstate NEW \
                 -j CONNMARK --set-xmark {route}"
            )
        });
        let mut prerouting: Vec<String> = dialled.collect();
        let mut output: Vec<String> = self.marked("RETURN").collect();
        output.push(format!(
            "-p tcp -m connmark --mark {route} \
             -j CONNMARK --restore-mark --nfmask {mask:#x} --ctmask {mask:#x}",
            mask = route.mask
        ));
        let excluded = self.options.exclude_outbound_ports.contains(&DNS);
        if self.options.dns_capture && self.flavour == Flavour::Culvert && !excluded {
            prerouting.push(format!(
                "-i lo -p udp -m udp --dport {DNS} -m mark --mark {route} \
                 -j TPROXY --on-port {DNS_PORT} --on-ip {loopback} --tproxy-mark 0x0/0x0"
            ));
            output.extend(self.excluded_networks(family));
            output.push(format!(
                "! -o lo -p udp -m udp --dport {DNS} -j MARK --set-xmark {route}"
            ));
        }
        Table {
            name: "mangle",
            first: true,
            jumps: vec![
                self.jump("PREROUTING", "", PREROUTING),
                self.jump("OUTPUT", "", OUTPUT),
                self.jump(
                    "POSTROUTING",
                    &format!("! -o lo -m mark --mark {route} "),
                    POSTROUTING,
                ),
            ],
            chains: vec![
                (PREROUTING, prerouting),
                (OUTPUT, output),
                // What was to stay here and does not, because the routing half is gone.
                (POSTROUTING, vec!["-j DROP".to_owned()]),
            ],
        }
    }

    /// Redirects TCP to ztunnel.
    fn nat(&self, family: Family) -> Table {
        let mut prerouting = vec!["-i lo -j RETURN".to_owned(), tcp_port(HBONE_PORT, "RETURN")];
        prerouting.extend(self.excluded_inbound());
        prerouting.extend(self.probes(family));
        prerouting.push(redirect("-p tcp", INBOUND_PORT));

        let mut output: Vec<String> = self.marked("ACCEPT").collect();
        output.push("-o lo -j RETURN".to_owned());
        output.extend(self.excluded_networks(family));
        output.extend(self.excluded_outbound());
        if self.options.dns_capture {
            output.push(redirect("-p tcp -m tcp --dport 53", DNS_PORT));
            if self.flavour == Flavour::Stock {
                output.push(redirect("-p udp -m udp --dport 53", DNS_PORT));
            }
        }
        output.push(redirect("-p tcp", OUTBOUND_PORT));
        Table {
            name: "nat",
            first: true,
            jumps: vec![
                self.jump("PREROUTING", "", PREROUTING),
                self.jump("OUTPUT", "", OUTPUT),
            ],
            chains: vec![(PREROUTING, prerouting), (OUTPUT, output)],
        }
    }

    /// Refuses first packets that were to be redirected and were not, and holds back answers that were to
    /// go to ztunnel and do not, for whatever reason.
    fn filter(&self, family: Family) -> Table {
        let refuse = "-p tcp -j REJECT --reject-with tcp-reset";
        let mut input = vec![
            tcp_port(INBOUND_PORT, "RETURN"),
            tcp_port(HBONE_PORT, "RETURN"),
        ];
        input.extend(self.excluded_inbound());
        input.extend(self.probes(family));
        input.push(refuse.to_owned());

        let (route, loopback) = (ROUTE_MARK, family.loopback());
        let length = family.host_length();
        let mut output: Vec<String> = self.marked("RETURN").collect();
        output.extend([
            format!(
                "-m connmark --mark {route} -m mark ! --mark {route} \
                 -m conntrack --ctdir REPLY -j DROP"
            ),
            format!("-p tcp -m tcp ! {SYN} -j RETURN"),
            format!("-d {loopback}/{length} -j RETURN"),
        ]);
        output.extend(self.excluded_networks(family));
        output.extend(self.excluded_outbound());
        output.push(refuse.to_owned());
        Table {
            name: "filter",
            first: true,
            jumps: vec![
                self.jump("INPUT", &format!("! -i lo -p tcp -m tcp {SYN} "), INPUT),
                self.jump("OUTPUT", "! -o lo -p tcp ", OUTPUT),
            ],
            chains: vec![(INPUT, input), (OUTPUT, output)],
        }
    }

    fn marks(&self) -> impl Iterator<Item = Mark> {
        [self.mark].into_iter().chain(self.former)
    }

    /// A rule for each mark of ztunnel's sockets.
    fn marked(&self, target: &'static str) -> impl Iterator<Item = String> {
        self.marks()
            .map(move |mark| format!("-m mark --mark {mark} -j {target}"))
    }

    fn jump(&self, from: &'static str, matching: &str, to: &str) -> (&'static str, String) {
        let comment = format!("\"{GENERATION_COMMENT}{}\"", self.generation);
        let rule = format!("{matching}-m comment --comment {comment} -j {to}");
        (from, rule)
    }

    fn excluded_inbound(&self) -> impl Iterator<Item = String> + '_ {
        let ports = self.options.exclude_inbound_ports.iter();
        ports.map(|&port| tcp_port(port, "RETURN"))
    }

    /// What the node's own probes are let past by.
    fn probes(&self, family: Family) -> impl Iterator<Item = String> + '_ {
        let (source, length) = (family.probe_source(), family.host_length());
        let rule =
            move |port| format!("-s {source}/{length} -p tcp -m tcp --dport {port} -j RETURN");
        self.probe_ports().map(rule)
    }

    fn probe_ports(&self) -> impl Iterator<Item = u16> + '_ {
        let ports = self.options.probe_ports.iter().copied();
        ports.filter(|port| !OWN_PORTS.contains(port))
    }

    fn excluded_outbound(&self) -> impl Iterator<Item = String> + '_ {
        let ports = self.options.exclude_outbound_ports.iter();
        ports.map(|&port| tcp_port(port, "RETURN"))
    }

    fn excluded_networks(&self, family: Family) -> impl Iterator<Item = String> + '_ {
        let nets = self.options.exclude_outbound_cidrs.iter();
        let nets = nets.filter(move |net| family.holds(net));
        nets.map(|net| match net.prefix_len() {
            0 => "-j RETURN".to_owned(),
            _ => format!("-d {net} -j RETURN"),
        })
    }
}

fn tcp_port(port: u16, target: &str) -> String {
    format!("-p tcp -m tcp --dport {port} -j {target}")
}

fn redirect(matching: &str, port: u16) -> String {
    format!("{matching} -j REDIRECT --to-ports {port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn spec(flavour: Flavour) -> Spec {
        Spec {
            mark: Mark {
                value: 0xabcd_0001,
                mask: u32::MAX,
            },
            former: None,
            flavour,
            options: CaptureOptions {
                exclude_inbound_ports: [8080].into(),
                exclude_outbound_ports: [5432].into(),
                exclude_outbound_cidrs: vec![
                    "10.0.0.0/8".parse().unwrap(),
                    "fd00::/8".parse().unwrap(),
                ],
                dns_capture: true,
                probe_ports: [8081, HBONE_PORT].into(),
            },
            generation: 7,
        }
    }

    fn rules(spec: &Spec, family: Family, table: usize, chain: &str) -> Vec<String> {
        let [raw, mangle, nat, filter] = spec.tables(family);
        let table = [raw, mangle, nat, filter].into_iter().nth(table).unwrap();
        let found = table.chains.into_iter().find(|(name, _)| *name == chain);
        found.unwrap().1
    }

    #[test]
    fn each_family_gets_its_own_exclusions() {
        let v4 = rules(&spec(Flavour::Culvert), Family::V4, 2, OUTPUT);
        assert!(v4.contains(&"-d 10.0.0.0/8 -j RETURN".to_owned()));
        assert!(!v4.iter().any(|rule| rule.contains("fd00::")));
        let v6 = rules(&spec(Flavour::Culvert), Family::V6, 2, OUTPUT);
        assert!(v6.contains(&"-d fd00::/8 -j RETURN".to_owned()));
        assert!(!v6.iter().any(|rule| rule.contains("10.0.0.0")));
    }

    #[test]
    fn both_capture_and_its_guard_know_the_same_exclusions() {
        for family in [Family::V4, Family::V6] {
            let spec = spec(Flavour::Culvert);
            for (port, capture, guard) in [(8080, PREROUTING, INPUT), (5432, OUTPUT, OUTPUT)] {
                let rule = tcp_port(port, "RETURN");
                assert!(rules(&spec, family, 2, capture).contains(&rule));
                assert!(rules(&spec, family, 3, guard).contains(&rule));
            }
        }
    }

    #[test]
    fn probes_come_from_the_node_to_their_ports_and_never_to_the_meshs_own() {
        let rule = "-s 169.254.7.127/32 -p tcp -m tcp --dport 8081 -j RETURN".to_owned();
        for (table, chain) in [(2, PREROUTING), (3, INPUT)] {
            let rules = rules(&spec(Flavour::Culvert), Family::V4, table, chain);
            let probes = rules.iter().filter(|rule| rule.contains("169.254.7.127"));
            assert_eq!(probes.collect::<Vec<_>>(), [&rule]);
        }
    }

    #[test]
    fn the_last_rule_of_every_capturing_chain_catches_everything() {
        let spec = spec(Flavour::Culvert);
        for (table, chain, last) in [
            (2, PREROUTING, "-p tcp -j REDIRECT --to-ports 15006"),
            (2, OUTPUT, "-p tcp -j REDIRECT --to-ports 15001"),
            (3, INPUT, "-p tcp -j REJECT --reject-with tcp-reset"),
            (3, OUTPUT, "-p tcp -j REJECT --reject-with tcp-reset"),
        ] {
            assert_eq!(rules(&spec, Family::V4, table, chain).last().unwrap(), last);
        }
    }

    #[test]
    fn dns_is_captured_as_the_ztunnel_can_take_it() {
        let tproxy = |spec: &Spec| {
            let rules = rules(spec, Family::V4, 1, PREROUTING);
            rules.iter().any(|rule| rule.contains("TPROXY"))
        };
        let redirect = |spec: &Spec, protocol: &str| {
            let rule = redirect(&format!("-p {protocol} -m {protocol} --dport 53"), DNS_PORT);
            rules(spec, Family::V4, 2, OUTPUT).contains(&rule)
        };
        let ours = spec(Flavour::Culvert);
        assert!(tproxy(&ours) && redirect(&ours, "tcp") && !redirect(&ours, "udp"));
        let stock = spec(Flavour::Stock);
        assert!(!tproxy(&stock) && redirect(&stock, "tcp") && redirect(&stock, "udp"));
        let mut excluded = spec(Flavour::Culvert);
        excluded.options.exclude_outbound_ports.insert(53);
        assert!(!tproxy(&excluded));
        let mut off = spec(Flavour::Culvert);
        off.options.dns_capture = false;
        assert!(!tproxy(&off) && !redirect(&off, "tcp"));
    }

    #[test]
    fn random_marks_never_look_like_the_route_mark() {
        for _ in 0..10_000 {
            let mark = Mark::random();
            assert_ne!(mark.value & ROUTE_MARK.mask, ROUTE_MARK.value);
            assert_ne!(mark.value, 0);
        }
        assert_eq!(Mark::STOCK.to_string(), "0x539/0xfff");
    }
}
