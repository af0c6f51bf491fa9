//! What a client addressed: a service or a workload that this waypoint stands for, or a gateway's own listener.
//!
//! Invariant: a waypoint carries traffic only to what names it as its waypoint, and never to the mesh's own ports.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use culvert_hbone::Authority;
use culvert_policy::DenyReason;
use culvert_xds::state::{
    AppProtocol, GatewayDestination, GatewayRef, Service, Snapshot, Workload,
};
use http::HeaderValue;

use crate::telemetry::series::DestinationLabels;

/// Ports of the mesh itself inside pods.
const MESH_PORTS: [u16; 4] = [15001, 15006, 15008, 15053];

/// Whether `port` is one of the mesh's own.
pub fn is_mesh_port(port: u16) -> bool {
    MESH_PORTS.contains(&port)
}

/// What a client addressed.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A port of a service.
    Service {
        /// The service.
        service: Arc<Service>,
        /// Its port.
        port: u16,
    },
    /// A port of a workload itself.
    Workload {
        /// The workload.
        workload: Arc<Workload>,
        /// The address that the client named.
        address: SocketAddr,
    },
    /// A port of this gateway itself. What is behind it is for routes alone to say.
    Gateway(Arrival),
}

/// Where a client outside the mesh came in.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `NAMESPACE/NAME` of the gateway.
    pub gateway: Arc<str>,
    /// The address and port that it reached.
    pub address: SocketAddr,
    /// The listener with which its TLS handshake was finished; none in plain text.
    pub tls: Option<Arc<str>>,
    /// What backends are told of the certificate that the client has shown there, if it was asked for one and it was good.
    pub certificate: OnceLock<HeaderValue>,
}

/// How this waypoint is named by those that it stands for.
#[derive(Debug, Clone)]
pub struct Own {
    namespace: Arc<str>,
    name: Arc<str>,
    /// The pod that this instance runs in, if it is one.
    pod: Option<Arc<str>>,
}

impl Own {
    /// The waypoint `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            pod: None,
        }
    }

    /// The same, of which this instance runs in `pod`.
    #[must_use]
    pub fn in_pod(self, pod: Option<&str>) -> Self {
        Self {
            pod: pod.map(Arc::from),
            ..self
        }
    }

    /// This very instance, as the controller knows it: its pod or, where it has none, the one instance that the Gateway
    /// stands for.
    pub fn workload<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Workload>> {
        let cluster = &snapshot.settings().cluster_id;
        let uid = match &self.pod {
            Some(pod) => format!("{cluster}//Pod/{}/{pod}", self.namespace),
            None => self.uid(cluster),
        };
        snapshot.workload(&uid)
    }

    /// The uid of this waypoint's own workload.
    fn uid(&self, cluster: &str) -> String {
        format!(
            "{cluster}/gateway.networking.k8s.io/Gateway/{}/{}",
            self.namespace, self.name
        )
    }

    /// Whether `gateway` is this waypoint, which also listens at `local`.
    fn is_named_by(&self, snapshot: &Snapshot, gateway: &GatewayRef, local: IpAddr) -> bool {
        let here = matches!(&gateway.destination, GatewayDestination::Address { ip, .. } if *ip == local.to_canonical());
        here || self.is(snapshot, gateway)
    }

    /// Whether `gateway` is this waypoint, by its name or the addresses of its workload.
    pub fn is(&self, snapshot: &Snapshot, gateway: &GatewayRef) -> bool {
        match &gateway.destination {
            GatewayDestination::Address { ip, .. } => {
                let own = snapshot.workload(&self.uid(&snapshot.settings().cluster_id));
                own.is_some_and(|own| own.addresses().contains(ip))
            }
            GatewayDestination::Hostname {
                namespace,
                hostname,
            } => {
                let own = hostname.split('.').next() == Some(&*self.name);
                own && *namespace == self.namespace
            }
        }
    }
}

impl Arrival {
    /// What the client spoke, as URLs name it.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

impl Destination {
    /// Finds what `authority` names to clients of `namespace`, for a connection that reached this waypoint at `local`.
    pub fn resolve(
        snapshot: &Snapshot,
        own: &Own,
        (namespace, local): (&str, IpAddr),
        authority: &Authority,
    ) -> Result<Self, DenyReason> {
        let (service, port) = match authority {
            Authority::Ip(address) => {
                let service = snapshot.service_at(address.ip(), namespace);
                (service, address.port())
            }
            Authority::Host { host, port } => (snapshot.service_named(host, namespace), *port),
        };
        let ours = |waypoint: Option<&GatewayRef>| {
            waypoint.is_some_and(|gateway| own.is_named_by(snapshot, gateway, local))
        };
        if let Some(service) = service {
            return match service.port(port) {
                _ if !ours(service.waypoint.as_ref()) => Err(DenyReason::DestinationMismatch),
                None => Err(DenyReason::PortUnknown),
                Some(_) => Ok(Self::Service {
                    service: Arc::clone(service),
                    port,
                }),
            };
        }
        let Authority::Ip(address) = authority else {
            return Err(DenyReason::DestinationUnknown);
        };
        let workload = snapshot
            .workload_by_ip(address.ip())
            .ok_or(DenyReason::DestinationUnknown)?;
        if !ours(workload.waypoint()) {
            return Err(DenyReason::DestinationMismatch);
        }
        if is_mesh_port(address.port()) {
            return Err(DenyReason::SelfCall);
        }
        Ok(Self::Workload {
            workload: Arc::clone(workload),
            address: *address,
        })
    }

    /// `NAMESPACE/HOSTNAME` of the service, the workload's uid, or `NAMESPACE/NAME` of the gateway.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Service { service, .. } => &service.key,
            Self::Workload { workload, .. } => workload.uid(),
            Self::Gateway(arrival) => &arrival.gateway,
        }
    }

    /// The port that the client addressed.
    pub fn port(&self) -> u16 {
        match self {
            Self::Service { port, .. } => *port,
            Self::Workload { address, .. } => address.port(),
            Self::Gateway(arrival) => arrival.address.port(),
        }
    }

    /// What the port speaks, as far as the service says.
    pub fn app_protocol(&self) -> AppProtocol {
        match self {
            Self::Service { service, port } => service
                .port(*port)
                .map(|port| port.app_protocol)
                .unwrap_or_default(),
            Self::Workload { .. } | Self::Gateway(_) => AppProtocol::Unknown,
        }
    }

    /// The address that a policy of the service is asked about: what the client addressed.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Service { service, port } => {
                let vip = service.vips.first().copied();
                SocketAddr::new(vip.unwrap_or(IpAddr::from([0, 0, 0, 0])), *port)
            }
            Self::Workload { address, .. } | Self::Gateway(Arrival { address, .. }) => *address,
        }
    }

    /// The name by which a request without a host is known.
    pub fn hostname(&self) -> String {
        match self {
            Self::Service { service, .. } => service.hostname.to_string(),
            Self::Workload { address, .. } | Self::Gateway(Arrival { address, .. }) => {
                match address.ip() {
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                }
            }
        }
    }

    /// Labels of what is known before an endpoint was picked.
    pub fn labels(&self) -> DestinationLabels {
        match self {
            Self::Service { service, .. } => DestinationLabels {
                service: service.hostname.to_string(),
                service_name: service.name.to_string(),
                service_namespace: service.namespace.to_string(),
                ..DestinationLabels::default()
            },
            Self::Workload { .. } => DestinationLabels::default(),
            Self::Gateway(arrival) => {
                let (namespace, name) = arrival.gateway.split_once('/').unwrap_or_default();
                DestinationLabels {
                    service_name: name.to_owned(),
                    service_namespace: namespace.to_owned(),
                    ..DestinationLabels::default()
                }
            }
        }
    }

    /// Where the client came in, if it is outside the mesh.
    pub fn arrival(&self) -> Option<&Arrival> {
        match self {
            Self::Gateway(arrival) => Some(arrival),
            Self::Service { .. } | Self::Workload { .. } => None,
        }
    }
}
