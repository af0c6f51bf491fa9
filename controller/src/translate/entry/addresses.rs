//! By which addresses an entry's hosts are known: its own, or those that the mesh gives it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{is_clusters, older, own_hosts};
use crate::model::{NsName, Obj, ServiceEntry};
use crate::path::FieldPath;
use crate::translate::finding::{ConditionType, Findings};
use crate::world::{Proposals, World};

/// Those that the entry states, as far as it may have them; none if it states none.
pub(super) fn own(
    world: &World,
    entry: &Obj<ServiceEntry>,
    findings: &mut Findings,
) -> Option<Vec<IpAddr>> {
    if entry.spec.addresses.is_empty() {
        return None;
    }
    let mut own = Vec::new();
    for (i, ip) in entry.spec.addresses.iter().enumerate() {
        let namespace = &entry.meta.name.namespace;
        let other = older(world, entry, world.index.entries_at(*ip), |other| {
            other.meta.name.namespace == *namespace && other.spec.addresses.contains(ip)
        });
        let message = if is_clusters(world, *ip) {
            format!("{ip} is an address of the cluster or one that the mesh gives out")
        } else if let Some(other) = other {
            format!("ServiceEntry {other} is older and has {ip}")
        } else {
            own.push(*ip);
            continue;
        };
        let at = FieldPath::of("spec.addresses").index(i);
        findings.error(ConditionType::Accepted, "AddressConflict", at, message);
    }
    Some(own)
}

/// Those that the mesh gave to a host.
pub(super) fn given(world: &World, entry: &Obj<ServiceEntry>, host: &str) -> Vec<IpAddr> {
    match world.addresses.remembered(&entry.meta.name, host) {
        Some(remembered) => remembered.to_vec(),
        None => ranges(world)
            .iter()
            .filter_map(|range| written(world, entry, host, *range))
            .collect(),
    }
}

/// Give addresses to the hosts that need them, where this process remembers them.
pub fn settle(world: &mut World, entry: &Obj<ServiceEntry>) {
    let hosts: Vec<Arc<str>> = in_need(world, entry).cloned().collect();
    let ranges = ranges(world);
    (world.addresses).settle(&entry.meta.name, hosts.iter(), &ranges);
}

/// The hosts that the mesh gives addresses to.
fn in_need<'a>(
    world: &'a World,
    entry: &'a Obj<ServiceEntry>,
) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
    let none = entry.spec.addresses.is_empty();
    own_hosts(world, entry).filter(move |_| none)
}

fn ranges(world: &World) -> Vec<IpNet> {
    world.settings.entry_ranges().collect()
}

/// The address of a range that the entry's status says the host was given, if no older entry's status says the same.
fn written(world: &World, entry: &Obj<ServiceEntry>, host: &str, range: IpNet) -> Option<IpAddr> {
    let given = &entry.spec.given;
    let said = given.iter().filter(|(known, _)| **known == *host);
    let mut said = said.map(|(_, ip)| *ip).filter(|ip| range.contains(ip));
    said.find(|ip| {
        let first = given.iter().find(|(_, other)| other == ip);
        let says = |other: &Obj<ServiceEntry>| other.spec.given.iter().any(|(_, said)| said == ip);
        first.is_some_and(|(known, _)| **known == *host)
            && older(world, entry, world.index.entries_at(*ip), says).is_none()
    })
}

/// What an entry's status is to say of its hosts' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    given: Vec<(Arc<str>, IpNet, IpAddr)>,
    /// What it says now and may not go on saying.
    refused: Vec<IpAddr>,
}

impl Wish {
    /// The list as a status has it. What it has got meanwhile, and was not known when the wish was made, it keeps.
    #[must_use]
    pub fn status(&self, now: &Value) -> Value {
        let said = |host: &str, range: &IpNet| {
            let all = now["addresses"].as_array().into_iter().flatten();
            let of_host = all.filter(|one| one["host"] == *host);
            let mut ips = of_host.filter_map(|one| one["value"].as_str()?.parse().ok());
            ips.find(|ip: &IpAddr| range.contains(ip) && !self.refused.contains(ip))
        };
        let one = |(host, range, ip): &(Arc<str>, IpNet, IpAddr)| {
            let ip = said(host, range).unwrap_or(*ip);
            json!({"host": **host, "value": ip.to_string()})
        };
        self.given.iter().map(one).collect()
    }
}

/// What the statuses of all entries are to say. Nothing where this process remembers it by itself.
#[must_use]
pub fn wishes(world: &World) -> BTreeMap<NsName, Wish> {
    let mut wishes = BTreeMap::new();
    if world.addresses != crate::world::Addresses::Written {
        return wishes;
    }
    let ranges = ranges(world);
    let mut proposals = Proposals::default();
    let mut open = Vec::new();
    for entry in world.cache.entries.iter() {
        let name = &entry.meta.name;
        let mut wish = Wish::default();
        for host in in_need(world, entry) {
            for range in &ranges {
                match written(world, entry, host, *range) {
                    Some(ip) => {
                        proposals.take(ip, name);
                        wish.given.push((host.clone(), *range, ip));
                    }
                    None => open.push((name, host, *range)),
                }
            }
        }
        let kept = |ip: &IpAddr| wish.given.iter().any(|(_, _, given)| given == ip);
        let said = entry.spec.given.iter().map(|(_, ip)| *ip);
        wish.refused = said.filter(|ip| !kept(ip)).collect();
        wishes.insert(name.clone(), wish);
    }
    for (name, host, range) in open {
        if let Some(ip) = proposals.propose(range, name, host)
            && let Some(wish) = wishes.get_mut(name)
        {
            wish.given.push((host.clone(), range, ip));
        }
    }
    for wish in wishes.values_mut() {
        // The same order whatever was there first, so that nothing is written twice.
        wish.given.sort_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
    }
    wishes
}
