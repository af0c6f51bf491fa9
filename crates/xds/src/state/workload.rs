//! A workload: a pod, or something that stands for one.
//!
//! There are far more workloads than anything else, so one is small: what the pods of a Deployment have in common is a
//! shared `Template`, what those of a node have in common a shared `Place`.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_identity::SpiffeId;
use serde::{Serialize, Serializer};

use super::gateway::GatewayRef;

/// One workload, immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub(super) uid: Arc<str>,
    pub(super) own: Own,
    pub(super) healthy: bool,
    pub(super) capacity: u32,
    pub(super) place: Arc<Place>,
    pub(super) template: Arc<Template>,
}

/// The name and the addresses. Made by [`Own::new`] only, so that what is equal has one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// One address, and the uid ends with the name, as every pod's does.
    Usual(IpAddr),
    /// Anything else.
    Other(Box<(Box<str>, Box<[IpAddr]>)>),
}

impl Own {
    pub(super) fn new(uid: &str, name: &str, addresses: &[IpAddr]) -> Self {
        match addresses {
            [ip] if tail(uid) == name => Self::Usual(*ip),
            _ => Self::Other(Box::new((name.into(), addresses.into()))),
        }
    }
}

/// What comes after the last slash.
fn tail(uid: &str) -> &str {
    uid.rsplit_once('/').map_or(uid, |(_, name)| name)
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            uid: &'a str,
            name: &'a str,
            addresses: &'a [IpAddr],
            healthy: bool,
            capacity: u32,
            #[serde(flatten)]
            place: &'a Place,
            #[serde(flatten)]
            template: &'a Template,
        }
        let shown = Shown {
            uid: &self.uid,
            name: self.name(),
            addresses: self.addresses(),
            healthy: self.healthy,
            capacity: self.capacity,
            place: &self.place,
            template: &self.template,
        };
        shown.serialize(serializer)
    }
}

/// Where workloads run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Place {
    pub(super) node: Arc<str>,
    pub(super) locality: Locality,
    pub(super) network: Arc<str>,
    pub(super) cluster_id: Arc<str>,
}

/// What workloads of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Template {
    pub(super) namespace: Arc<str>,
    #[serde(serialize_with = "as_uri")]
    pub(super) identity: SpiffeId,
    /// The identity's trust domain is the mesh's own and follows it.
    #[serde(skip)]
    pub(super) inherits_trust_domain: bool,
    pub(super) tunnel: Tunnel,
    pub(super) native_tunnel: bool,
    pub(super) host_network: bool,
    pub(super) external: bool,
    pub(super) hostname: Arc<str>,
    pub(super) canonical_name: Arc<str>,
    pub(super) canonical_revision: Arc<str>,
    pub(super) workload_name: Arc<str>,
    pub(super) workload_type: WorkloadType,
    pub(super) waypoint: Option<Box<GatewayRef>>,
    pub(super) network_gateway: Option<Box<GatewayRef>>,
    pub(super) application_tunnel: Option<ApplicationTunnel>,
    pub(super) services: Box<[ServiceBinding]>,
    #[serde(flatten)]
    pub(super) named: Arc<NamedPolicies>,
}

/// Policies that a workload names, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct NamedPolicies {
    pub(super) policies: Arc<[Arc<str>]>,
    pub(super) egress_policies: Arc<[Arc<str>]>,
}

/// How traffic reaches a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tunnel {
    /// As it is: the workload is not in the mesh.
    None,
    /// In an HBONE tunnel to port 15008 of its address.
    Hbone,
}

/// What created a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are Kubernetes' kinds")]
pub enum WorkloadType {
    Deployment,
    CronJob,
    Pod,
    Job,
}

impl WorkloadType {
    /// The name as it stands in metrics and baggage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// Where in the world a workload runs. Parts that are not known are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[expect(missing_docs, reason = "the names are Kubernetes' topology levels")]
pub struct Locality {
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub subzone: Arc<str>,
}

/// Whatever must be said to the workload's own proxy before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ApplicationTunnel {
    /// A PROXY protocol header comes first.
    pub proxy_protocol: bool,
    /// The port to dial instead; `None` keeps the one that was asked for.
    pub port: Option<u16>,
}

/// A service that the workload is an endpoint of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceBinding {
    /// `NAMESPACE/HOSTNAME`.
    pub service: Arc<str>,
    /// Ports of this workload that differ from what the service says, or where the service leaves it open.
    pub ports: Box<[PortMapping]>,
}

/// A service's port and the workload's port behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[expect(missing_docs, reason = "said by the type's own line")]
pub struct PortMapping {
    pub service_port: u16,
    pub target_port: u16,
}

impl Workload {
    /// The resource's name, `CLUSTER//Pod/NAMESPACE/NAME` for a pod.
    #[must_use]
    pub fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.own {
            Own::Usual(_) => tail(&self.uid),
            Own::Other(other) => &other.0,
        }
    }

    /// The pod's addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.own {
            Own::Usual(ip) => std::slice::from_ref(ip),
            Own::Other(other) => &other.1,
        }
    }

    /// Ready to be sent traffic.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    /// Its weight among the endpoints of a service; 0 takes no traffic.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> &Arc<str> {
        &self.place.node
    }

    /// Where in the world it runs.
    #[must_use]
    pub fn locality(&self) -> &Locality {
        &self.place.locality
    }

    /// Its network, empty for the cluster's own.
    #[must_use]
    pub fn network(&self) -> &Arc<str> {
        &self.place.network
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster_id(&self) -> &Arc<str> {
        &self.place.cluster_id
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<str> {
        &self.template.namespace
    }

    /// Whom it proves to be.
    #[must_use]
    pub fn identity(&self) -> &SpiffeId {
        &self.template.identity
    }

    /// How traffic reaches it.
    #[must_use]
    pub fn tunnel(&self) -> Tunnel {
        self.template.tunnel
    }

    /// It terminates HBONE itself.
    #[must_use]
    pub fn native_tunnel(&self) -> bool {
        self.template.native_tunnel
    }

    /// It uses its node's addresses, which therefore do not name it.
    #[must_use]
    pub fn host_network(&self) -> bool {
        self.template.host_network
    }

    /// It is outside of the cluster: its addresses do not name it.
    #[must_use]
    pub fn external(&self) -> bool {
        self.template.external
    }

    /// A name to resolve where it has no address; otherwise empty.
    #[must_use]
    pub fn hostname(&self) -> &Arc<str> {
        &self.template.hostname
    }

    /// The name of the service that it belongs to, for telemetry.
    #[must_use]
    pub fn canonical_name(&self) -> &Arc<str> {
        &self.template.canonical_name
    }

    /// The version of the service that it belongs to, for telemetry.
    #[must_use]
    pub fn canonical_revision(&self) -> &Arc<str> {
        &self.template.canonical_revision
    }

    /// The name of what created it, such as a Deployment.
    #[must_use]
    pub fn workload_name(&self) -> &Arc<str> {
        &self.template.workload_name
    }

    /// The kind of what created it.
    #[must_use]
    pub fn workload_type(&self) -> WorkloadType {
        self.template.workload_type
    }

    /// The waypoint of traffic to its own address.
    #[must_use]
    pub fn waypoint(&self) -> Option<&GatewayRef> {
        self.template.waypoint.as_deref()
    }

    /// The gateway through which its network is reached.
    #[must_use]
    pub fn network_gateway(&self) -> Option<&GatewayRef> {
        self.template.network_gateway.as_deref()
    }

    /// What its own proxy wants to be told.
    #[must_use]
    pub fn application_tunnel(&self) -> Option<ApplicationTunnel> {
        self.template.application_tunnel
    }

    /// The services that it is an endpoint of, sorted by name.
    #[must_use]
    pub fn services(&self) -> &[ServiceBinding] {
        &self.template.services
    }

    /// Names of the policies that select it, sorted.
    #[must_use]
    pub fn policies(&self) -> &Arc<[Arc<str>]> {
        &self.template.named.policies
    }

    /// Names of the EgressPolicies that hold for it, sorted.
    #[must_use]
    pub fn egress_policies(&self) -> &Arc<[Arc<str>]> {
        &self.template.named.egress_policies
    }
}

fn as_uri<S: Serializer>(identity: &SpiffeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(identity.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        // With the two counts of its Arc it is 80, a size that the allocator has.
        assert_eq!(size_of::<Workload>(), 64);
    }
}
