//! The workloads of a snapshot, found by uid, by address and by service.
//!
//! Invariant: an entry of an index is at most 16 bytes, since each workload has one in all three: what it is ordered by is
//! the workload's own, and a number that stands for it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use imbl::OrdSet;

use super::index::{Grouped, group, prefix_of_ip, prefix_of_text};
use super::workload::{Tunnel, Workload};

#[derive(Clone, Debug, Default)]
pub(super) struct WorkloadIndex {
    by_uid: OrdSet<ByUid>,
    by_ip: OrdSet<ByIp>,
    by_service: OrdSet<ByService>,
}

impl WorkloadIndex {
    /// Adds a workload and returns the one of the same uid that it replaces.
    pub(super) fn insert(&mut self, workload: &Arc<Workload>) -> Option<Arc<Workload>> {
        let old = self.remove(&workload.uid);
        for entry in ByIp::all(workload) {
            self.by_ip.insert(entry);
        }
        for entry in ByService::all(workload) {
            self.by_service.insert(entry);
        }
        self.by_uid.insert(ByUid(workload.clone()));
        old
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<Arc<Workload>> {
        let ByUid(workload) = self.by_uid.remove(uid)?;
        for entry in ByIp::all(&workload) {
            self.by_ip.remove(&entry);
        }
        for entry in ByService::all(&workload) {
            self.by_service.remove(&entry);
        }
        Some(workload)
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.by_uid.get(uid).map(|entry| &entry.0)
    }

    pub(super) fn by_ip(&self, ip: &IpAddr) -> Option<&Arc<Workload>> {
        group(&self.by_ip, ip).next().map(|entry| &entry.workload)
    }

    pub(super) fn of_service<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        group(&self.by_service, key).map(|entry| &entry.workload)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_uid.iter().map(|entry| &entry.0)
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }
}

/// The addresses that name a workload. Pods with host network share their node's; those outside belong to whoever dials
/// them.
fn addressed(workload: &Workload) -> &[IpAddr] {
    if workload.host_network() || workload.external() {
        &[]
    } else {
        workload.addresses()
    }
}

/// Ordered by uid.
#[derive(Clone, Debug)]
struct ByUid(Arc<Workload>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        &self.0.uid
    }
}

/// Ordered by address, then by who of several claimants is believed. While a pod's address passes to another pod both
/// are there for a moment: one in the mesh goes before one outside, so that nothing is sent in plain text that could
/// be encrypted, and the identity that TLS expects refuses the wrong one; then the healthy one; then the lower uid.
#[derive(Clone, Debug)]
struct ByIp {
    prefix: u32,
    /// Which of the workload's addresses.
    index: u32,
    workload: Arc<Workload>,
}

impl ByIp {
    /// One for each address that names the workload.
    fn all(workload: &Arc<Workload>) -> impl Iterator<Item = Self> {
        (0..).zip(addressed(workload)).map(|(index, ip)| Self {
            prefix: Self::prefix_of(ip),
            index,
            workload: workload.clone(),
        })
    }
}

impl Grouped<IpAddr> for ByIp {
    fn group(&self) -> &IpAddr {
        // An entry is made of an address that is there.
        const NONE: &IpAddr = &IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.workload
            .addresses()
            .get(at(self.index))
            .unwrap_or(NONE)
    }

    fn prefix(&self) -> u32 {
        self.prefix
    }

    fn prefix_of(key: &IpAddr) -> u32 {
        prefix_of_ip(key)
    }
}

impl ByIp {
    fn rank(&self) -> (&IpAddr, bool, bool, &str) {
        let workload = &self.workload;
        (
            self.group(),
            workload.tunnel() != Tunnel::Hbone,
            !workload.healthy,
            &workload.uid,
        )
    }
}

/// Ordered by service, then by uid.
#[derive(Clone, Debug)]
struct ByService {
    prefix: u32,
    /// Which of the workload's services.
    index: u32,
    workload: Arc<Workload>,
}

impl ByService {
    /// One for each service that the workload is an endpoint of.
    fn all(workload: &Arc<Workload>) -> impl Iterator<Item = Self> {
        (0..).zip(workload.services()).map(|(index, binding)| Self {
            prefix: Self::prefix_of(&binding.service),
            index,
            workload: workload.clone(),
        })
    }
}

impl ByService {
    fn rank(&self) -> (&str, &str) {
        (self.group(), &self.workload.uid)
    }
}

impl Grouped<str> for ByService {
    fn group(&self) -> &str {
        // An entry is made of a service that is there.
        let binding = self.workload.services().get(at(self.index));
        binding.map_or("", |binding| &binding.service)
    }

    fn prefix(&self) -> u32 {
        self.prefix
    }

    fn prefix_of(key: &str) -> u32 {
        prefix_of_text(key)
    }
}

fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Ord for ByUid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.uid.cmp(&other.0.uid)
    }
}

impl Ord for ByIp {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = || self.rank().cmp(&other.rank());
        self.prefix.cmp(&other.prefix).then_with(rank)
    }
}

impl Ord for ByService {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = || self.rank().cmp(&other.rank());
        self.prefix.cmp(&other.prefix).then_with(rank)
    }
}

super::index::ordered!(ByUid, ByIp, ByService);
