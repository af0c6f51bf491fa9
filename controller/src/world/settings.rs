//! Settings of the whole mesh, from its MeshConfig or by default.

use std::time::Duration;

use ipnet::IpNet;

use crate::api::{CaptureExclusions, HostOwnership, MeshConfigSpec, OutboundTraffic, SameNode};

/// Settings in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    spec: MeshConfigSpec,
    /// Trust domain and cluster: once names were given out, they stay.
    fixed: Option<(String, String)>,
}

impl Settings {
    /// Take over a MeshConfig, or the defaults.
    pub fn take(&mut self, spec: Option<&MeshConfigSpec>) {
        self.spec = spec.cloned().unwrap_or_default();
    }

    /// From now on the trust domain and the cluster's name are what they are.
    pub fn fix_names(&mut self) {
        self.fixed = Some((self.trust_domain().into(), self.cluster_id().into()));
    }

    /// Fields whose values cannot take effect, with the value in force.
    #[must_use]
    pub fn unchangeable(&self) -> Vec<(&'static str, &str)> {
        let spec = [&self.spec.trust_domain, &self.spec.cluster_id];
        let names = [
            ("trustDomain", self.trust_domain()),
            ("clusterID", self.cluster_id()),
        ];
        let differs = spec
            .into_iter()
            .zip(names)
            .filter(|(spec, (_, own))| spec != own);
        differs.map(|(_, name)| name).collect()
    }

    /// First part of every identity.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        let fixed = self.fixed.as_ref();
        fixed.map_or(&self.spec.trust_domain, |(trust_domain, _)| trust_domain)
    }

    /// The name of this cluster.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        let fixed = self.fixed.as_ref();
        fixed.map_or(&self.spec.cluster_id, |(_, cluster)| cluster)
    }

    /// Suffix of service names.
    #[must_use]
    pub fn cluster_domain(&self) -> &str {
        &self.spec.cluster_domain
    }

    /// Where policies hold for the mesh.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.spec.root_namespace
    }

    /// Ranges in which an unknown address is refused.
    #[must_use]
    pub fn cluster_cidrs(&self) -> Vec<String> {
        self.spec
            .cluster_cidrs
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Whether an address lies in a range of the cluster.
    #[must_use]
    pub fn in_cluster(&self, ip: std::net::IpAddr) -> bool {
        let mut ranges = self.spec.cluster_cidrs.iter();
        ranges.any(|range| range.get().contains(&ip))
    }

    /// Whether the whole mesh may know entries of a namespace, if they ask for it.
    #[must_use]
    pub fn may_export(&self, namespace: &str) -> bool {
        let mut from = self.spec.service_entries.export_from.iter();
        namespace == self.root_namespace() || from.any(|name| name == "*" || name == namespace)
    }

    /// Where addresses of entries come from.
    pub fn entry_ranges(&self) -> impl Iterator<Item = IpNet> + use<'_> {
        let ranges = self.spec.service_entries.address_ranges.iter();
        ranges.map(|range| range.get().trunc())
    }

    /// Longest lifetime of a workload's certificate.
    #[must_use]
    pub fn certificate_ttl(&self) -> Duration {
        self.spec.certificate_ttl.get()
    }

    /// Whether pods may keep traffic out of the mesh.
    #[must_use]
    pub fn exclusions_allowed(&self) -> bool {
        self.spec.capture_exclusions == CaptureExclusions::Allowed
    }

    /// UDP is refused where plaintext is.
    #[must_use]
    pub fn refuse_udp_when_strict(&self) -> bool {
        self.spec.refuse_udp_when_strict
    }

    /// Bytes between pods of one node need not be encrypted.
    #[must_use]
    pub fn same_node_in_process(&self) -> bool {
        self.spec.same_node == SameNode::InProcess
    }

    /// To whom the hosts of Ingresses belong.
    #[must_use]
    pub fn host_ownership(&self) -> HostOwnership {
        self.spec.ingress_host_ownership
    }

    /// Outside of the mesh, workloads reach only what an EgressPolicy allows them.
    #[must_use]
    pub fn registry_only(&self) -> bool {
        self.spec.outbound_traffic == OutboundTraffic::RegistryOnly
    }
}
