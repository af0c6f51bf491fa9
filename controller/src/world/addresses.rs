//! Addresses of the mesh's own for hosts of ServiceEntries that have none.
//!
//! Invariants: a host keeps its address for as long as its entry names it, and no address is two hosts' at once. Which
//! address is tried first follows from the host alone, so that one that comes back gets the one that it had, if nobody has
//! it, and one that is gone is not soon another's, whose clients may still know it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::NsName;

/// Addresses that are tried for one host.
const TRIES: u128 = 1 << 16;

/// Who has which address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// As this process remembers.
    Remembered(Table),
    /// As the entries' own statuses say, which whoever leads writes.
    Written,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Remembered(Table::default())
    }
}

/// Addresses by hosts, and hosts by addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    of: BTreeMap<NsName, BTreeMap<Arc<str>, Vec<IpAddr>>>,
    taken: HashSet<IpAddr>,
}

/// By `NAMESPACE/NAME` of the entry, then by host.
pub type RememberedAddresses = BTreeMap<String, BTreeMap<String, Vec<IpAddr>>>;

impl Addresses {
    /// These hosts of an entry have addresses from these ranges, and no others of its hosts.
    pub fn settle<'a>(
        &mut self,
        entry: &NsName,
        hosts: impl Iterator<Item = &'a Arc<str>>,
        ranges: &[IpNet],
    ) {
        let Self::Remembered(table) = self else {
            return;
        };
        let mut before = table.of.remove(entry).unwrap_or_default();
        let mut now = BTreeMap::new();
        for host in hosts {
            let mut kept = before.remove(host).unwrap_or_default();
            kept.retain(|ip| {
                let keeps = ranges.iter().any(|range| range.contains(ip));
                keeps || !table.taken.remove(ip)
            });
            for range in ranges {
                if !kept.iter().any(|ip| range.contains(ip)) {
                    let free = candidates(*range, entry, host).find(|ip| !table.taken.contains(ip));
                    table.taken.extend(free);
                    kept.extend(free);
                }
            }
            now.insert(host.clone(), kept);
        }
        for gone in before.into_values().flatten() {
            table.taken.remove(&gone);
        }
        if !now.is_empty() {
            table.of.insert(entry.clone(), now);
        }
    }

    /// What this process remembers for a host; nothing where statuses say it.
    #[must_use]
    pub fn remembered(&self, entry: &NsName, host: &str) -> Option<&[IpAddr]> {
        match self {
            Self::Remembered(table) => {
                let found = table.of.get(entry).and_then(|hosts| hosts.get(host));
                Some(found.map(Vec::as_slice).unwrap_or_default())
            }
            Self::Written => None,
        }
    }

    /// Only entries that are there are remembered.
    pub fn retain(&mut self, is_there: impl Fn(&NsName) -> bool) {
        if let Self::Remembered(table) = self {
            table.of.retain(|entry, _| is_there(entry));
            let hosts = table.of.values().flat_map(BTreeMap::values);
            table.taken = hosts.flatten().copied().collect();
        }
    }

    /// For the next start.
    #[must_use]
    pub fn remember(&self) -> RememberedAddresses {
        let Self::Remembered(table) = self else {
            return BTreeMap::new();
        };
        let hosts = |hosts: &BTreeMap<Arc<str>, Vec<IpAddr>>| {
            let host = |(host, ips): (&Arc<str>, &Vec<IpAddr>)| (host.to_string(), ips.clone());
            hosts.iter().map(host).collect()
        };
        let entries = table.of.iter();
        entries
            .map(|(name, of)| (name.to_string(), hosts(of)))
            .collect()
    }

    /// What [`remember`](Self::remember) gave before this start. What two would have is the first one's.
    #[must_use]
    pub fn recall(remembered: &RememberedAddresses) -> Self {
        let mut table = Table::default();
        for (entry, hosts) in remembered {
            let Some(entry) = NsName::parse(entry) else {
                continue;
            };
            for (host, ips) in hosts {
                let mut ips = ips.clone();
                ips.retain(|ip| table.taken.insert(*ip));
                let of = table.of.entry(entry.clone()).or_default();
                of.insert(host.as_str().into(), ips);
            }
        }
        Self::Remembered(table)
    }
}

/// Addresses of a range for a host, the one that it is to have if nobody has it first.
fn candidates(range: IpNet, entry: &NsName, host: &str) -> impl Iterator<Item = IpAddr> + use<> {
    let first = match range.network() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let width = u32::from(range.max_prefix_len() - range.prefix_len());
    // Neither the first nor the last: they have meanings of their own in some networks.
    let size = 1u128
        .checked_shl(width)
        .unwrap_or(u128::MAX)
        .saturating_sub(2)
        .max(1);
    let start = hash(&format!("{entry}/{host}")) % size;
    let v4 = range.network().is_ipv4();
    (0..TRIES.min(size)).map(move |n| {
        let number = first + 1 + (start + n) % size;
        if v4 {
            let [.., a, b, c, d] = number.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(number))
        }
    })
}

/// The same in every version and on every machine.
fn hash(text: &str) -> u128 {
    let digest = boring::sha::sha256(text.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Gives out addresses for a while without remembering any.
#[derive(Debug, Default)]
pub struct Proposals {
    taken: HashMap<IpAddr, NsName>,
}

impl Proposals {
    /// Somebody has it.
    pub fn take(&mut self, address: IpAddr, entry: &NsName) {
        self.taken.insert(address, entry.clone());
    }

    /// A free one of the range for a host, which has it from now on.
    pub fn propose(&mut self, range: IpNet, entry: &NsName, host: &str) -> Option<IpAddr> {
        let free = candidates(range, entry, host).find(|ip| !self.taken.contains_key(ip))?;
        self.take(free, entry);
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn hosts(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn a_host_keeps_its_addresses_and_nobody_else_gets_them() {
        let both = ranges(&["240.240.0.0/16", "2001:2::/48"]);
        let mut addresses = Addresses::default();
        let (a, b) = (NsName::new("demo", "a"), NsName::new("demo", "b"));
        addresses.settle(&a, hosts(&["x.example"]).iter(), &both);
        let first = addresses.remembered(&a, "x.example").unwrap().to_vec();
        assert_eq!(first.len(), 2);
        assert!(both[0].contains(&first[0]) && both[1].contains(&first[1]));
        addresses.settle(&a, hosts(&["w.example", "x.example"]).iter(), &both);
        addresses.settle(&b, hosts(&["x.example"]).iter(), &both);
        assert_eq!(addresses.remembered(&a, "x.example").unwrap(), first);
        assert_ne!(addresses.remembered(&b, "x.example").unwrap(), first);
        assert_eq!(Addresses::recall(&addresses.remember()), addresses);
        // One that comes back gets what it had.
        addresses.settle(&a, hosts(&[]).iter(), &both);
        assert!(addresses.remembered(&a, "x.example").unwrap().is_empty());
        addresses.settle(&a, hosts(&["x.example"]).iter(), &both);
        assert_eq!(addresses.remembered(&a, "x.example").unwrap(), first);
        // Another range makes other addresses of them.
        addresses.settle(
            &a,
            hosts(&["x.example"]).iter(),
            &ranges(&["10.240.0.0/16"]),
        );
        let moved = addresses.remembered(&a, "x.example").unwrap();
        assert!(moved.len() == 1 && moved[0].to_string().starts_with("10.240."));
    }

    #[test]
    fn a_range_is_given_out_to_its_last_address_and_no_farther() {
        let small = ranges(&["192.0.2.0/24"]);
        let mut addresses = Addresses::default();
        let entry = NsName::new("demo", "a");
        let names: Vec<Arc<str>> = (0..260).map(|n| format!("n{n}.example").into()).collect();
        addresses.settle(&entry, names.iter(), &small);
        let given = names
            .iter()
            .flat_map(|host| addresses.remembered(&entry, host).unwrap());
        let given: Vec<_> = given.copied().collect();
        let different: HashSet<_> = given.iter().collect();
        assert_eq!((given.len(), different.len()), (254, 254));
        for never in ["192.0.2.0", "192.0.2.255"] {
            assert!(!given.contains(&never.parse().unwrap()), "{never}");
        }
    }

    #[test]
    fn proposals_are_not_what_somebody_has() {
        let range = "192.0.2.0/24".parse().unwrap();
        let entry = NsName::new("demo", "a");
        let wanted = candidates(range, &entry, "x.example").next().unwrap();
        let mut proposals = Proposals::default();
        proposals.take(wanted, &NsName::new("demo", "other"));
        let one = proposals.propose(range, &entry, "x.example").unwrap();
        assert_ne!(one, wanted);
        assert_ne!(proposals.propose(range, &entry, "x.example"), Some(one));
    }
}
