//! A service: a name, virtual addresses, and ports; its endpoints are the workloads that name it.

use std::net::IpAddr;
use std::sync::Arc;

use culvert_identity::SpiffeId;
use serde::{Serialize, Serializer};

use super::gateway::GatewayRef;

/// One service, immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The resource's name, `NAMESPACE/HOSTNAME`.
    pub key: Arc<str>,
    /// The short name.
    pub name: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The fully qualified name, in lower case.
    pub hostname: Arc<str>,
    /// Virtual addresses; none for a headless service.
    pub vips: Box<[IpAddr]>,
    /// Of its endpoints' addresses, those that its name stands for where it is headless.
    pub families: Families,
    /// Its ports.
    pub ports: Box<[ServicePort]>,
    /// Identities that an endpoint may also present.
    #[serde(serialize_with = "as_uris")]
    pub identities: Box<[SpiffeId]>,
    /// The waypoint of traffic to this service.
    pub waypoint: Option<GatewayRef>,
    /// How endpoints are preferred.
    pub load_balancing: LoadBalancing,
    /// Wins over services of other namespaces with the same name or address.
    pub canonical: bool,
    /// Ingress gateways go through the waypoint too.
    pub ingress_use_waypoint: bool,
    /// Clients of other namespaces do not know it.
    pub private: bool,
    /// It stands for something outside of the cluster: none of its endpoints may have one of the cluster's addresses.
    pub external: bool,
}

impl Service {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|known| known.port == port)
    }

    /// Whether clients of a namespace know it.
    #[must_use]
    pub fn is_visible_to(&self, namespace: &str) -> bool {
        !self.private || *self.namespace == *namespace
    }
}

/// A port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// The port that clients dial.
    pub port: u16,
    /// The endpoints' port; `None` where each endpoint has its own.
    pub target_port: Option<u16>,
    /// What is spoken there, as far as the service says.
    pub app_protocol: AppProtocol,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the protocols'")]
pub enum AppProtocol {
    #[default]
    Unknown,
    Http11,
    Http2,
    Grpc,
    Tcp,
    Tls,
}

/// How endpoints of a service are preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoadBalancing {
    /// What an endpoint should have in common with the client, the most important first.
    pub routing_preference: Vec<LoadBalancingScope>,
    /// What the preference means.
    pub mode: LoadBalancingMode,
    /// Which endpoints count.
    pub health_policy: HealthPolicy,
    /// Connections of one client go to one endpoint while it takes any.
    pub client_affinity: bool,
}

/// Which addresses of endpoints a name without addresses of its own stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// All.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

impl Families {
    /// Whether an address is one of them.
    #[must_use]
    pub fn holds(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// What an endpoint and a client can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are Kubernetes' topology levels")]
pub enum LoadBalancingScope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

/// What a preference means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancingMode {
    /// Nothing.
    #[default]
    Unspecified,
    /// Endpoints that lack any of it are not used.
    Strict,
    /// Endpoints that have more of it are used first.
    Failover,
    /// The address that the client dialled is used, without choice.
    Passthrough,
}

/// Which endpoints count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthPolicy {
    /// Only healthy ones.
    #[default]
    OnlyHealthy,
    /// All.
    AllowAll,
}

fn as_uris<S: Serializer>(identities: &[SpiffeId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(identities.iter().map(SpiffeId::as_str))
}
