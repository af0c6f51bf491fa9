//! The same capture rules in the words of `nft`, for both families in one table. Pure.
//!
//! Invariant: chain by chain they do what those of `iptables` do; where nftables differs, the comment
//! beside says so.

use super::{
    DNS, DNS_PORT, Family, Flavour, GENERATION_COMMENT, HBONE_PORT, INBOUND_PORT, Mark,
    OUTBOUND_PORT, ROUTE_MARK, Spec, ZONE,
};

/// The table that holds a pod's rules.
pub const TABLE: &str = "culvert";

/// A chain: its name, its hook (none for one that is jumped to), its rules.
pub type Chain = (&'static str, &'static str, Vec<String>);

/// First packets of TCP connections.
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";
const NOT_SYN: &str = "tcp flags & (fin | syn | rst | ack) != syn";

impl Spec {
    /// The chains of the table.
    #[must_use]
    pub fn chains(&self, ipv6: bool) -> Vec<Chain> {
        let families = Words { spec: self, ipv6 };
        let mut chains = vec![
            (
                "raw_output",
                "filter hook output priority -300",
                families.raw(),
            ),
            (
                "mangle_prerouting",
                "filter hook prerouting priority -150",
                families.mangle_prerouting(),
            ),
            // Of the type that looks for a route again when the mark changes.
            (
                "mangle_output",
                "route hook output priority -150",
                families.mangle_output(),
            ),
            (
                "mangle_postrouting",
                "filter hook postrouting priority -150",
                vec![format!("oifname != \"lo\" {} drop", marked(ROUTE_MARK))],
            ),
            // One before the priority of everybody else's translation.
            (
                "nat_prerouting",
                "nat hook prerouting priority -101",
                families.nat_prerouting(),
            ),
            (
                "nat_output",
                "nat hook output priority -101",
                families.nat_output(),
            ),
            (
                "filter_input",
                "filter hook input priority 0",
                families.input(),
            ),
            (
                "filter_output",
                "filter hook output priority 0",
                families.output(),
            ),
        ];
        for (_, _, rules) in &mut chains {
            if let Some(first) = rules.first_mut() {
                let generation = self.generation;
                first.push_str(&format!(" comment \"{GENERATION_COMMENT}{generation}\""));
            }
        }
        chains
    }
}

/// Words of one rule set.
struct Words<'a> {
    spec: &'a Spec,
    ipv6: bool,
}

impl Words<'_> {
    fn raw(&self) -> Vec<String> {
        let zone = |mark| {
            format!(
                "oifname \"lo\" meta l4proto tcp {} ct original zone set {ZONE}",
                marked(mark)
            )
        };
        self.spec.marks().map(zone).collect()
    }

    fn mangle_prerouting(&self) -> Vec<String> {
        let set = |mark| {
            format!(
                "iifname \"lo\" meta l4proto tcp {} ct state new {}",
                marked(mark),
                set_route_mark("ct")
            )
        };
        let mut rules: Vec<String> = self.spec.marks().map(set).collect();
        if self.tproxies() {
            let query = format!("iifname \"lo\" {}", marked(ROUTE_MARK));
            for (family, nfproto, ip, host) in self.families() {
                let loopback = family.loopback();
                let to = match host {
                    32 => format!("{loopback}:{DNS_PORT}"),
                    _ => format!("[{loopback}]:{DNS_PORT}"),
                };
                rules.push(format!(
                    "{query} meta nfproto {nfproto} udp dport {DNS} tproxy {ip} to {to} accept"
                ));
            }
            // Without a listener TPROXY of iptables drops; that of nftables goes on to the next rule.
            rules.push(format!("{query} udp dport {DNS} drop"));
        }
        rules
    }

    fn mangle_output(&self) -> Vec<String> {
        let mut rules = self.marked("return");
        rules.push(format!(
            "meta l4proto tcp ct mark & {mask:#x} == {value:#x} {set}",
            mask = ROUTE_MARK.mask,
            value = ROUTE_MARK.value,
            set = set_route_mark("meta")
        ));
        if self.tproxies() {
            rules.extend(self.excluded_networks());
            rules.push(format!(
                "oifname != \"lo\" udp dport {DNS} {}",
                set_route_mark("meta")
            ));
        }
        rules
    }

    fn nat_prerouting(&self) -> Vec<String> {
        let mut rules = vec!["iifname \"lo\" return".to_owned(), port(HBONE_PORT)];
        rules.extend(self.inbound());
        rules.push(redirect("meta l4proto tcp", INBOUND_PORT));
        rules
    }

    fn nat_output(&self) -> Vec<String> {
        let mut rules = self.marked("accept");
        rules.push("oifname \"lo\" return".to_owned());
        rules.extend(self.excluded_networks());
        rules.extend(self.excluded_outbound());
        if self.spec.options.dns_capture {
            rules.push(redirect("tcp dport 53", DNS_PORT));
            if self.spec.flavour == Flavour::Stock {
                rules.push(redirect("udp dport 53", DNS_PORT));
            }
        }
        rules.push(redirect("meta l4proto tcp", OUTBOUND_PORT));
        rules
    }

    fn input(&self) -> Vec<String> {
        let mut rules = vec![
            "iifname \"lo\" return".to_owned(),
            port(INBOUND_PORT),
            port(HBONE_PORT),
        ];
        rules.extend(self.inbound());
        rules.push(format!("{SYN} reject with tcp reset"));
        rules
    }

    fn output(&self) -> Vec<String> {
        let (mask, value) = (ROUTE_MARK.mask, ROUTE_MARK.value);
        let mut rules = vec![
            "oifname \"lo\" return".to_owned(),
            "meta l4proto != tcp return".to_owned(),
        ];
        rules.extend(self.marked("return"));
        rules.push(format!(
            "ct mark & {mask:#x} == {value:#x} meta mark & {mask:#x} != {value:#x} \
             ct direction reply drop"
        ));
        rules.push(format!("{NOT_SYN} return"));
        for (family, _, ip, _) in self.families() {
            rules.push(format!("{ip} daddr {} return", family.loopback()));
        }
        rules.extend(self.excluded_networks());
        rules.extend(self.excluded_outbound());
        rules.push("meta l4proto tcp reject with tcp reset".to_owned());
        rules
    }

    /// Each family, its number of `meta nfproto`, its word, and the length of a host's address.
    fn families(&self) -> impl Iterator<Item = (Family, &'static str, &'static str, u8)> {
        let v6 = self.ipv6.then_some((Family::V6, "ipv6", "ip6", 128));
        [(Family::V4, "ipv4", "ip", 32)].into_iter().chain(v6)
    }

    fn tproxies(&self) -> bool {
        let options = &self.spec.options;
        let excluded = options.exclude_outbound_ports.contains(&DNS);
        options.dns_capture && self.spec.flavour == Flavour::Culvert && !excluded
    }

    fn marked(&self, verdict: &str) -> Vec<String> {
        let rule = |mark| format!("{} {verdict}", marked(mark));
        self.spec.marks().map(rule).collect()
    }

    /// What reaches the application directly.
    fn inbound(&self) -> Vec<String> {
        let options = &self.spec.options;
        let mut rules: Vec<String> = options
            .exclude_inbound_ports
            .iter()
            .copied()
            .map(port)
            .collect();
        for (family, _, ip, _) in self.families() {
            let source = family.probe_source();
            let probes = self.spec.probe_ports();
            rules.extend(probes.map(|port| format!("{ip} saddr {source} tcp dport {port} return")));
        }
        rules
    }

    fn excluded_outbound(&self) -> impl Iterator<Item = String> {
        let ports = self.spec.options.exclude_outbound_ports.iter();
        ports.copied().map(port)
    }

    fn excluded_networks(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (family, nfproto, ip, _) in self.families() {
            let nets = self.spec.options.exclude_outbound_cidrs.iter();
            rules.extend(
                nets.filter(|net| family.holds(net))
                    .map(|net| match net.prefix_len() {
                        0 => format!("meta nfproto {nfproto} return"),
                        _ => format!("{ip} daddr {net} return"),
                    }),
            );
        }
        rules
    }
}

fn marked(mark: Mark) -> String {
    match mark.mask {
        u32::MAX => format!("meta mark {:#x}", mark.value),
        mask => format!("meta mark & {mask:#x} == {:#x}", mark.value),
    }
}

/// Of a packet (`meta`) or a connection (`ct`).
fn set_route_mark(of: &str) -> String {
    let others = !ROUTE_MARK.mask;
    format!(
        "{of} mark set {of} mark & {others:#x} | {:#x}",
        ROUTE_MARK.value
    )
}

fn port(port: u16) -> String {
    format!("tcp dport {port} return")
}

fn redirect(matching: &str, port: u16) -> String {
    format!("{matching} redirect to :{port}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::spec;
    use super::*;

    fn chain(spec: &Spec, name: &str) -> Vec<String> {
        let mut chains = spec.chains(true).into_iter();
        chains.find(|(found, ..)| *found == name).unwrap().2
    }

    #[test]
    fn capture_and_its_guard_let_the_same_past() {
        let spec = spec(Flavour::Culvert);
        for (excluded, capture, guard) in [
            ("tcp dport 8080 return", "nat_prerouting", "filter_input"),
            ("tcp dport 5432 return", "nat_output", "filter_output"),
            ("ip daddr 10.0.0.0/8 return", "nat_output", "filter_output"),
            (
                "ip6 daddr fd00::/8 return",
                "mangle_output",
                "filter_output",
            ),
            (
                "ip saddr 169.254.7.127 tcp dport 8081 return",
                "nat_prerouting",
                "filter_input",
            ),
        ] {
            for chain_name in [capture, guard] {
                let rules = chain(&spec, chain_name);
                assert!(
                    rules.contains(&excluded.to_owned()),
                    "{excluded}: {rules:?}"
                );
            }
        }
    }

    #[test]
    fn the_last_rule_catches_everything() {
        let spec = spec(Flavour::Culvert);
        for (name, last) in [
            ("nat_prerouting", "meta l4proto tcp redirect to :15006"),
            ("nat_output", "meta l4proto tcp redirect to :15001"),
            ("filter_output", "meta l4proto tcp reject with tcp reset"),
        ] {
            assert_eq!(chain(&spec, name).last().unwrap(), last);
        }
        let input = chain(&spec, "filter_input");
        assert_eq!(
            input.last().unwrap(),
            &format!("{SYN} reject with tcp reset")
        );
    }

    #[test]
    fn without_ipv6_no_rule_is_for_it() {
        let chains = spec(Flavour::Culvert).chains(false);
        let rules = chains.iter().flat_map(|(.., rules)| rules);
        assert!(!rules.into_iter().any(|rule| rule.contains("ip6")));
    }
}
