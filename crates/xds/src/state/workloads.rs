//! The workloads of a snapshot, found by uid, by address and by service.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;

use super::index::{Grouped, group};
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
        for ip in addressed(workload) {
            self.by_ip.insert(ByIp {
                ip: *ip,
                workload: workload.clone(),
            });
        }
        for binding in workload.services() {
            self.by_service.insert(ByService {
                service: binding.service.clone(),
                workload: workload.clone(),
            });
        }
        self.by_uid.insert(ByUid(workload.clone()));
        old
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<Arc<Workload>> {
        let ByUid(workload) = self.by_uid.remove(uid)?;
        for ip in addressed(&workload) {
            self.by_ip.remove(&ByIp {
                ip: *ip,
                workload: workload.clone(),
            });
        }
        for binding in workload.services() {
            self.by_service.remove(&ByService {
                service: binding.service.clone(),
                workload: workload.clone(),
            });
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

/// The addresses that name a workload. Pods with host network share their node's.
fn addressed(workload: &Workload) -> &[IpAddr] {
    if workload.host_network() {
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
    ip: IpAddr,
    workload: Arc<Workload>,
}

impl Grouped<IpAddr> for ByIp {
    fn group(&self) -> &IpAddr {
        &self.ip
    }
}

impl ByIp {
    fn rank(&self) -> (&IpAddr, bool, bool, &str) {
        let workload = &self.workload;
        (
            &self.ip,
            workload.tunnel() != Tunnel::Hbone,
            !workload.healthy,
            &workload.uid,
        )
    }
}

/// Ordered by service, then by uid.
#[derive(Clone, Debug)]
struct ByService {
    service: Arc<str>,
    workload: Arc<Workload>,
}

impl Grouped<str> for ByService {
    fn group(&self) -> &str {
        &self.service
    }
}

impl Ord for ByUid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.uid.cmp(&other.0.uid)
    }
}

impl Ord for ByIp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Ord for ByService {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.service, &self.workload.uid).cmp(&(&other.service, &other.workload.uid))
    }
}

super::index::ordered!(ByUid, ByIp, ByService);
