//! The services of a snapshot, found by name, by virtual address and by hostname.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;

use super::index::{Grouped, group};
use super::service::Service;

#[derive(Clone, Debug, Default)]
pub(super) struct ServiceIndex {
    by_key: OrdSet<ByKey>,
    by_vip: OrdSet<ByVip>,
    by_hostname: OrdSet<ByHostname>,
}

impl ServiceIndex {
    /// Adds a service in place of the one with the same name.
    pub(super) fn insert(&mut self, service: &Arc<Service>) {
        self.remove(&service.key);
        for ip in &service.vips {
            self.by_vip.insert(ByVip {
                ip: *ip,
                service: service.clone(),
            });
        }
        self.by_hostname.insert(ByHostname(service.clone()));
        self.by_key.insert(ByKey(service.clone()));
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Service>> {
        let ByKey(service) = self.by_key.remove(key)?;
        for ip in &service.vips {
            self.by_vip.remove(&ByVip {
                ip: *ip,
                service: service.clone(),
            });
        }
        self.by_hostname.remove(&ByHostname(service.clone()));
        Some(service)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Service>> {
        self.by_key.get(key).map(|entry| &entry.0)
    }

    pub(super) fn by_vip<'a>(&'a self, ip: &IpAddr) -> impl Iterator<Item = &'a Arc<Service>> {
        group(&self.by_vip, ip).map(|entry| &entry.service)
    }

    pub(super) fn by_hostname<'a>(
        &'a self,
        hostname: &str,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        group(&self.by_hostname, hostname).map(|entry| &entry.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_key.iter().map(|entry| &entry.0)
    }
}

/// Of several claimants in their order the one that clients of a namespace are to believe: of those that they know the
/// canonical one, then their own namespace's.
pub(super) fn preferred<'a>(
    claimants: impl Iterator<Item = &'a Arc<Service>>,
    namespace: &str,
) -> Option<&'a Arc<Service>> {
    claimants
        .filter(|service| service.is_visible_to(namespace))
        .min_by_key(|service| (!service.canonical, *service.namespace != *namespace))
}

/// Ordered by name.
#[derive(Clone, Debug)]
struct ByKey(Arc<Service>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

/// Ordered by address, then by who of several claimants is believed: the canonical one, then the lower name.
#[derive(Clone, Debug)]
struct ByVip {
    ip: IpAddr,
    service: Arc<Service>,
}

impl Grouped<IpAddr> for ByVip {
    fn group(&self) -> &IpAddr {
        &self.ip
    }
}

/// Ordered by hostname, then as [`ByVip`].
#[derive(Clone, Debug)]
struct ByHostname(Arc<Service>);

impl Grouped<str> for ByHostname {
    fn group(&self) -> &str {
        &self.0.hostname
    }
}

fn rank(service: &Service) -> (bool, &str) {
    (!service.canonical, &service.key)
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Ord for ByVip {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.ip, rank(&self.service)).cmp(&(other.ip, rank(&other.service)))
    }
}

impl Ord for ByHostname {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.0.hostname, rank(&self.0)).cmp(&(&other.0.hostname, rank(&other.0)))
    }
}

super::index::ordered!(ByKey, ByVip, ByHostname);
