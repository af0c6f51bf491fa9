//! ServiceEntries by the hosts and addresses that they name, so that a change leads to the few that it may concern.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{NsName, Obj, ServiceEntry};

/// Entries by what they name.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_host: HashMap<Arc<str>, BTreeSet<NsName>>,
    by_address: HashMap<IpAddr, BTreeSet<NsName>>,
}

impl Entries {
    pub(super) fn set(&mut self, entry: &Obj<ServiceEntry>, present: bool) {
        let name = &entry.meta.name;
        for host in &entry.spec.hosts {
            set(&mut self.by_host, host.clone(), name, present);
        }
        for address in addresses(&entry.spec) {
            set(&mut self.by_address, address, name, present);
        }
    }

    /// Those with a host.
    pub(super) fn naming(&self, host: &str) -> impl Iterator<Item = &NsName> + use<'_> {
        self.by_host.get(host).into_iter().flatten()
    }

    /// Those that have an address, were given it, or are reached at it.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &NsName> + use<'_> {
        self.by_address.get(&address).into_iter().flatten()
    }
}

/// All addresses that an entry says anything of.
pub(super) fn addresses(entry: &ServiceEntry) -> impl Iterator<Item = IpAddr> + use<'_> {
    let endpoints = entry.endpoints.iter();
    let endpoints = endpoints.filter_map(|endpoint| endpoint.place.address());
    let given = entry.given.iter().map(|(_, address)| *address);
    let own = entry.addresses.iter().copied();
    own.chain(endpoints).chain(given)
}

fn set<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, BTreeSet<NsName>>,
    key: K,
    entry: &NsName,
    present: bool,
) {
    if present {
        map.entry(key).or_default().insert(entry.clone());
    } else if let Some(entries) = map.get_mut(&key) {
        entries.remove(entry);
        if entries.is_empty() {
            map.remove(&key);
        }
    }
}
