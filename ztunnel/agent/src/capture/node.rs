//! The node's own rules: what marks the kubelet's probes as such. Pure.
//!
//! A connection that root of the node itself opens to a port which a captured pod's probes use gets a source
//! address that nobody else has; the pod's rules let that source past to these ports.
//!
//! Invariant: only what this node opened itself, addressed to the pod itself, gets that address: not what
//! is forwarded (it belongs to no socket here), nor what came to the pod through a Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::rules::nft::Chain;
use super::rules::{Family, GENERATION_COMMENT, Rules, Table};

/// The table for nft.
pub const TABLE: &str = "culvert-node";

const PREROUTING: &str = "CULVERT_PREROUTING";
const FORWARD: &str = "CULVERT_FORWARD";
const POSTROUTING: &str = "CULVERT_POSTROUTING";

/// Rules for the probes of all pods of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRules {
    /// Who probes: the user that the kubelet runs as.
    pub uid: u32,
    /// What is probed.
    pub targets: BTreeSet<(IpAddr, u16)>,
}

impl NodeRules {
    fn of(&self, family: Family) -> impl Iterator<Item = (IpAddr, u16)> + '_ {
        let targets = self.targets.iter().copied();
        targets.filter(move |(ip, _)| Family::of(*ip) == family)
    }
}

impl Rules for NodeRules {
    fn tables(&self, family: Family) -> Vec<Table> {
        let (source, length) = (family.probe_source(), family.host_length());
        let jump = |chain: &'static str, matching: &str, to: &str| {
            let comment = format!("-m comment --comment \"{GENERATION_COMMENT}1\"");
            (chain, format!("{matching}{comment} -j {to}"))
        };
        let table = |name, (from, jump), (chain, rules)| Table {
            name,
            first: false,
            jumps: vec![(from, jump)],
            chains: vec![(chain, rules)],
        };
        let own = format!(
            "-p tcp -m owner --uid-owner {} -m conntrack ! --ctstate DNAT ",
            self.uid
        );
        let snat = self.of(family).map(|(ip, port)| {
            format!("-d {ip}/{length} -p tcp -m tcp --dport {port} -j SNAT --to-source {source}")
        });
        vec![
            // Nobody else may come with that address, from wherever,
            table(
                "raw",
                jump("PREROUTING", "", PREROUTING),
                (PREROUTING, vec![format!("-s {source}/{length} -j DROP")]),
            ),
            table(
                "nat",
                jump("POSTROUTING", &own, POSTROUTING),
                (POSTROUTING, snat.collect()),
            ),
            // and what is still addressed to it here answers no connection of ours.
            table(
                "filter",
                jump("FORWARD", "", FORWARD),
                (FORWARD, vec![format!("-d {source}/{length} -j DROP")]),
            ),
        ]
    }

    fn table(&self) -> &'static str {
        TABLE
    }

    fn chains(&self, ipv6: bool) -> Vec<Chain> {
        let v6 = ipv6.then_some((Family::V6, "ip6"));
        let families: Vec<_> = [(Family::V4, "ip")].into_iter().chain(v6).collect();
        let drop = |side: &str| {
            let rule = |&(family, ip): &(Family, &str)| {
                format!("{ip} {side} {} drop", family.probe_source())
            };
            families.iter().map(rule).collect::<Vec<_>>()
        };
        let snat = families.iter().flat_map(|&(family, word)| {
            let source = family.probe_source();
            self.of(family).map(move |(ip, port)| {
                format!("{word} daddr {ip} tcp dport {port} snat {word} to {source}")
            })
        });
        // DNAT's bit of the connection's status.
        let own = format!("meta skuid {} ct status & 0x20 == 0 jump probes", self.uid);
        vec![
            ("probes", "", snat.collect()),
            (
                "spoofed",
                "filter hook prerouting priority -300",
                drop("saddr"),
            ),
            ("stray", "filter hook forward priority 0", drop("daddr")),
            // One before everybody else's translation.
            ("postrouting", "nat hook postrouting priority 99", vec![own]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_targets_and_source() {
        let rules = NodeRules {
            uid: 0,
            targets: [
                ("10.244.1.5".parse().unwrap(), 8080),
                ("fd00::5".parse().unwrap(), 8081),
            ]
            .into(),
        };
        for (family, expected) in [
            (
                Family::V4,
                "-d 10.244.1.5/32 -p tcp -m tcp --dport 8080 -j SNAT --to-source 169.254.7.127",
            ),
            (
                Family::V6,
                "-d fd00::5/128 -p tcp -m tcp --dport 8081 -j SNAT \
                 --to-source fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
            ),
        ] {
            let tables = rules.tables(family);
            let nat = tables.iter().find(|table| table.name == "nat").unwrap();
            assert_eq!(nat.chains[0].1, [expected]);
            assert!(nat.jumps[0].1.contains("--uid-owner 0"));
        }
        let chains = rules.chains(false);
        let (_, _, snat) = chains.iter().find(|(name, ..)| *name == "probes").unwrap();
        assert_eq!(
            snat,
            &["ip daddr 10.244.1.5 tcp dport 8080 snat ip to 169.254.7.127"]
        );
    }
}
