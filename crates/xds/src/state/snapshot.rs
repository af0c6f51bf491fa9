//! [`Snapshot`]: everything that is known at one moment, immutable, with the questions that the data plane asks.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_policy::{EgressPolicy, EgressSet, PolicySet};
use imbl::OrdMap;

use super::policies::{AttachedPolicy, MissingPolicy, PolicyBook};
use super::service::Service;
use super::services::{ServiceIndex, preferred};
use super::settings::Settings;
use super::workload::Workload;
use super::workloads::WorkloadIndex;

/// The mesh at one moment. Cheap to clone; a clone with one change shares all the rest.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) version: u64,
    pub(super) settings: Arc<Settings>,
    pub(super) workloads: WorkloadIndex,
    pub(super) services: ServiceIndex,
    pub(super) policies: PolicyBook,
    pub(super) egress: OrdMap<Arc<str>, Arc<EgressPolicy>>,
}

/// An endpoint of a service, for one of the service's ports.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// Who serves.
    pub workload: &'a Arc<Workload>,
    /// The port to dial at the workload.
    pub port: u16,
}

impl Snapshot {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            version: 0,
            settings: Arc::new(settings),
            workloads: WorkloadIndex::default(),
            services: ServiceIndex::default(),
            policies: PolicyBook::default(),
            egress: OrdMap::new(),
        }
    }

    /// Counts up with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Mesh-wide settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether an address lies in the cluster's ranges, so that it is refused if nobody has it.
    #[must_use]
    pub fn in_cluster(&self, ip: IpAddr) -> bool {
        self.settings.in_cluster(ip)
    }

    /// The workload with this uid.
    #[must_use]
    pub fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// The workload that has this address. Of several claimants one that is in the mesh is believed before one that is
    /// not, then a healthy one, then the one with the lower uid; when it goes, the next one has the address.
    #[must_use]
    pub fn workload_by_ip(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.by_ip(&ip.to_canonical())
    }

    /// The service `NAMESPACE/HOSTNAME`.
    #[must_use]
    pub fn service(&self, key: &str) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service that everybody knows by this virtual address: of several the canonical one, then the one with the
    /// lower name.
    #[must_use]
    pub fn service_by_vip(&self, ip: IpAddr) -> Option<&Arc<Service>> {
        let ip = ip.to_canonical();
        let mut claimants = self.services.by_vip(&ip);
        claimants.find(|service| !service.private)
    }

    /// The service that clients of a namespace know by this virtual address: of several the canonical one, then their own
    /// namespace's, then the one with the lower name.
    #[must_use]
    pub fn service_at(&self, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let ip = ip.to_canonical();
        preferred(self.services.by_vip(&ip), namespace)
    }

    /// The service that everybody knows by this hostname, in lower case and without a trailing dot: of several the
    /// canonical one, then the one with the lower name.
    #[must_use]
    pub fn service_by_hostname(&self, hostname: &str) -> Option<&Arc<Service>> {
        let mut claimants = self.services.by_hostname(hostname);
        claimants.find(|service| !service.private)
    }

    /// The service that clients of a namespace know by this hostname, chosen as by [`Self::service_at`].
    #[must_use]
    pub fn service_named(&self, hostname: &str, namespace: &str) -> Option<&Arc<Service>> {
        preferred(self.services.by_hostname(hostname), namespace)
    }

    /// Whether an address may be that of an endpoint outside of the cluster: it is in none of the cluster's ranges, nobody
    /// in the cluster is known to have it, and it leads neither back to who dials nor to what only a machine itself
    /// reaches, as the metadata of clouds.
    #[must_use]
    pub fn is_outside(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let local = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
        let link = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !local
            && !link
            && !self.in_cluster(ip)
            && self.workloads.by_ip(&ip).is_none()
            && self.services.by_vip(&ip).all(|service| service.external)
    }

    /// Every service with this hostname, the preferred one first.
    pub fn services_by_hostname<'a>(
        &'a self,
        hostname: &str,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.services.by_hostname(hostname)
    }

    /// The endpoints of a service that serve one of its ports, healthy or not, sorted by uid. None if the service has
    /// no such port.
    pub fn endpoints<'a>(
        &'a self,
        service: &'a Service,
        service_port: u16,
    ) -> impl Iterator<Item = Endpoint<'a>> {
        let port = service.port(service_port);
        let workloads = port.map(|_| self.workloads.of_service(&service.key));
        workloads.into_iter().flatten().filter_map(move |workload| {
            let own = own_port(workload, &service.key, service_port);
            let port = own.or_else(|| port?.target_port)?;
            Some(Endpoint { workload, port })
        })
    }

    /// Every workload that is an endpoint of a service, whatever its ports.
    pub fn workloads_of<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        self.workloads.of_service(&service.key)
    }

    /// The policies that apply to a workload: those that it names, those of its namespace and those of the mesh. An
    /// error denies.
    pub fn policies_for(&self, workload: &Workload) -> Result<PolicySet, MissingPolicy> {
        self.policies.for_workload(workload)
    }

    /// What a workload may reach outside of the mesh; `None`: everything. An error refuses.
    pub fn egress_for(&self, workload: &Workload) -> Result<Option<EgressSet>, MissingPolicy> {
        let names = workload.egress_policies();
        if names.is_empty() && !self.settings.registry_only {
            return Ok(None);
        }
        let policies = names.iter().map(|name| match self.egress.get(name) {
            Some(policy) => Ok(policy.clone()),
            None => Err(MissingPolicy { name: name.clone() }),
        });
        policies.collect::<Result<_, _>>().map(Some)
    }

    /// The EgressPolicies, sorted by name.
    pub fn egress_policies(&self) -> impl Iterator<Item = &Arc<EgressPolicy>> {
        self.egress.values()
    }

    /// The policies that target a port of a service `NAMESPACE/HOSTNAME`, for its waypoint.
    #[must_use]
    pub fn policies_for_service(&self, service: &str, port: u16) -> PolicySet {
        self.policies.for_service(service, port)
    }

    /// The policy `NAMESPACE/NAME`.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<AttachedPolicy>> {
        self.policies.get(name)
    }

    /// Every workload, sorted by uid.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.iter()
    }

    /// How many workloads there are.
    #[must_use]
    pub fn workload_count(&self) -> usize {
        self.workloads.len()
    }

    /// Every service, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Every policy, sorted by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<AttachedPolicy>> {
        self.policies.iter()
    }

    pub(super) fn put_workload(&mut self, workload: &Arc<Workload>) {
        self.services.remove(&workload.uid);
        if let Some(old) = self.workloads.insert(workload) {
            self.policies.remove_workload(&old);
        }
        self.policies.add_workload(workload);
    }

    pub(super) fn put_service(&mut self, service: &Arc<Service>) {
        self.remove_workload(&service.key);
        self.services.insert(service);
    }

    /// Removes the workload or service with this name.
    pub(super) fn remove_address(&mut self, name: &str) {
        self.remove_workload(name);
        self.services.remove(name);
    }

    fn remove_workload(&mut self, uid: &str) {
        if let Some(old) = self.workloads.remove(uid) {
            self.policies.remove_workload(&old);
        }
    }
}

/// The port that a workload itself maps a service's port to.
fn own_port(workload: &Workload, service: &str, service_port: u16) -> Option<u16> {
    let bindings = workload.services();
    let index = bindings
        .binary_search_by(|b| (*b.service).cmp(service))
        .ok()?;
    let mut ports = bindings.get(index)?.ports.iter();
    let mapping = ports.find(|mapping| mapping.service_port == service_port)?;
    Some(mapping.target_port)
}
