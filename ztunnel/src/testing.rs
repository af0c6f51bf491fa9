//! A small mesh for unit tests, built the way the controller's messages build one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_hbone::TunnelConfig;
use culvert_identity::ca::Root;
use culvert_identity::{LocalSource, SecretManager, SecretOptions, TrustDomain, bundle};
use culvert_proto::istio::security::Authorization;
use culvert_proto::istio::workload as proto;
use culvert_proto::node as node_proto;
use culvert_proto::type_url;
use culvert_resolve::{Resolver, Servers};
use culvert_runtime::limits::Limits;
use culvert_runtime::netns::Netns;
use culvert_xds::state::{Settings, Snapshot};
use culvert_xds::{Handler as _, Rejected, Resource, Store, Update};
use prost::Message as _;

use crate::asking::Asking;
use crate::certificates::Certificates;
use crate::egress::Egress;
use crate::faults::Faults;
use crate::node::Node;
use crate::proxy::connections::Quota;
use crate::proxy::cores::DataCores;
use crate::proxy::load::Load;
use crate::proxy::neighbours::Neighbours;

/// The cluster of every workload here.
const CLUSTER: &str = "c";

/// A store that tests fill.
pub(crate) struct Mesh(pub(crate) Store);

/// A service or a workload.
pub(crate) struct Address(proto::Address);

/// A service to be.
pub(crate) struct Service(proto::Service);

/// A workload to be.
pub(crate) struct Workload(proto::Workload);

impl Mesh {
    /// With these addresses, and 10.0.0.0/8 and fd00::/8 as the cluster's ranges.
    pub(crate) fn new(addresses: impl IntoIterator<Item = Address>) -> Self {
        let ranges = ["10.0.0.0/8", "fd00::/8"];
        let cluster_cidrs = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let mesh = Self(Store::new(Settings {
            cluster_cidrs,
            ..Settings::default()
        }));
        for address in addresses {
            mesh.put(address);
        }
        mesh
    }

    pub(crate) fn put(&self, Address(address): Address) {
        let name = match address.r#type.as_ref().unwrap() {
            proto::address::Type::Workload(workload) => workload.uid.clone(),
            proto::address::Type::Service(service) => {
                format!("{}/{}", service.namespace, service.hostname)
            }
        };
        self.apply(type_url::ADDRESS, &name, address.encode_to_vec());
    }

    pub(crate) fn put_policy(&self, policy: &Authorization) {
        let name = format!("{}/{}", policy.namespace, policy.name);
        self.apply(type_url::AUTHORIZATION, &name, policy.encode_to_vec());
    }

    /// Send the settings that the mesh has, and roots that nobody uses.
    pub(crate) fn put_settings(&self) {
        let settings = self.snapshot().settings().clone();
        let message = node_proto::MeshSettings {
            trust_domain: settings.trust_domain.to_string(),
            cluster_id: CLUSTER.into(),
            root_namespace: settings.root_namespace.to_string(),
            cluster_cidrs: settings
                .cluster_cidrs
                .iter()
                .map(ToString::to_string)
                .collect(),
            cluster_domain: settings.cluster_domain.to_string(),
            refuse_udp_when_strict: false,
            same_node_in_process: settings.same_node_in_process,
            network_policy_namespaces: settings
                .network_policy_namespaces
                .iter()
                .map(ToString::to_string)
                .collect(),
            registry_only: settings.registry_only,
        };
        self.apply(type_url::MESH_SETTINGS, "default", message.encode_to_vec());
        let roots = node_proto::TrustBundle {
            trust_domain: settings.trust_domain.to_string(),
            roots: authority().roots_pem().unwrap(),
        };
        self.apply(type_url::TRUST_BUNDLE, "default", roots.encode_to_vec());
    }

    pub(crate) fn put_egress(&self, policy: &node_proto::EgressPolicy) {
        let rejected = self.try_put_egress(policy);
        assert!(rejected.is_empty(), "{rejected:?}");
    }

    /// What is rejected of it.
    pub(crate) fn try_put_egress(&self, policy: &node_proto::EgressPolicy) -> Vec<Rejected> {
        let name = format!("{}/{}", policy.namespace, policy.name);
        self.try_apply(type_url::EGRESS_POLICY, &name, policy.encode_to_vec())
    }

    /// Nothing outside of the mesh is reached without an EgressPolicy.
    pub(crate) fn registry_only(&self) {
        let message = node_proto::MeshSettings {
            trust_domain: "cluster.local".into(),
            cluster_id: CLUSTER.into(),
            root_namespace: "culvert-system".into(),
            cluster_domain: "cluster.local".into(),
            registry_only: true,
            ..node_proto::MeshSettings::default()
        };
        self.apply(type_url::MESH_SETTINGS, "default", message.encode_to_vec());
    }

    pub(crate) fn remove(&self, url: &str, name: &str) {
        let update = Update {
            removed: vec![name.into()],
            ..Update::default()
        };
        assert!(self.0.clone().apply(url, update).is_empty());
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    fn apply(&self, url: &str, name: &str, body: Vec<u8>) {
        let rejected = self.try_apply(url, name, body);
        assert!(rejected.is_empty(), "{rejected:?}");
    }

    fn try_apply(&self, url: &str, name: &str, body: Vec<u8>) -> Vec<Rejected> {
        let resource = Resource {
            name: name.into(),
            version: "1".into(),
            body: Bytes::from(body),
        };
        let update = Update {
            resources: vec![resource],
            ..Update::default()
        };
        self.0.clone().apply(url, update)
    }
}

/// `NAME.NAMESPACE.svc.cluster.local`.
pub(crate) fn service(namespace: &str, name: &str) -> Service {
    Service(proto::Service {
        name: name.into(),
        namespace: namespace.into(),
        hostname: format!("{name}.{namespace}.svc.cluster.local"),
        ..Default::default()
    })
}

/// A healthy pod in the mesh whose service account has its name. Its uid is [`uid`].
pub(crate) fn workload(namespace: &str, name: &str) -> Workload {
    Workload(proto::Workload {
        uid: uid(namespace, name),
        name: name.into(),
        namespace: namespace.into(),
        service_account: name.into(),
        node: "n1".into(),
        cluster_id: CLUSTER.into(),
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        ..Default::default()
    })
}

/// What the controller calls a pod.
pub(crate) fn uid(namespace: &str, name: &str) -> String {
    format!("{CLUSTER}//Pod/{namespace}/{name}")
}

fn octets(ip: &str) -> Bytes {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

fn gateway(ip: &str) -> proto::GatewayAddress {
    let address = proto::NetworkAddress {
        address: octets(ip),
        ..Default::default()
    };
    proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Address(address)),
        hbone_mtls_port: 15008,
    }
}

impl Service {
    pub(crate) fn vip(mut self, ip: &str) -> Self {
        self.0.addresses.push(proto::NetworkAddress {
            address: octets(ip),
            ..Default::default()
        });
        self
    }

    /// By another name than a service of the cluster has.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.0.hostname = host.into();
        self
    }

    pub(crate) fn private(mut self) -> Self {
        self.0.visibility = proto::service::Visibility::Namespace.into();
        self
    }

    pub(crate) fn external(mut self) -> Self {
        self.0.external = true;
        self
    }

    pub(crate) fn only_v4(mut self) -> Self {
        self.0.ip_families = proto::IpFamilies::Ipv4Only.into();
        self
    }

    pub(crate) fn client_affinity(mut self) -> Self {
        self.0.load_balancing = Some(proto::LoadBalancing {
            client_affinity: true,
            ..Default::default()
        });
        self
    }

    pub(crate) fn port(mut self, service_port: u32, target_port: u32) -> Self {
        self.0.ports.push(proto::Port {
            service_port,
            target_port,
            ..Default::default()
        });
        self
    }

    pub(crate) fn waypoint(mut self, ip: &str) -> Self {
        self.0.waypoint = Some(gateway(ip));
        self
    }

    pub(crate) fn waypoint_named(mut self, namespace: &str, hostname: &str) -> Self {
        let name = proto::NamespacedHostname {
            namespace: namespace.into(),
            hostname: hostname.into(),
        };
        self.0.waypoint = Some(proto::GatewayAddress {
            destination: Some(proto::gateway_address::Destination::Hostname(name)),
            ..gateway("::")
        });
        self
    }
}

impl Workload {
    pub(crate) fn ip(mut self, ip: &str) -> Self {
        self.0.addresses.push(octets(ip));
        self
    }

    pub(crate) fn of(mut self, service: &str) -> Self {
        self.0
            .services
            .insert(service.into(), proto::PortList::default());
        self
    }

    pub(crate) fn plaintext(mut self) -> Self {
        self.0.tunnel_protocol = proto::TunnelProtocol::None.into();
        self
    }

    pub(crate) fn external(mut self) -> Self {
        self.0.external = true;
        self.plaintext()
    }

    /// Found by a name.
    pub(crate) fn hostname(mut self, name: &str) -> Self {
        self.0.hostname = name.into();
        self
    }

    pub(crate) fn unhealthy(mut self) -> Self {
        self.0.status = proto::WorkloadStatus::Unhealthy.into();
        self
    }

    pub(crate) fn network(mut self, network: &str) -> Self {
        self.0.network = network.into();
        self
    }

    pub(crate) fn waypoint(mut self, ip: &str) -> Self {
        self.0.waypoint = Some(gateway(ip));
        self
    }

    pub(crate) fn egress(mut self, name: &str) -> Self {
        self.0.egress_policies.push(name.into());
        self
    }

    pub(crate) fn policy(mut self, name: &str) -> Self {
        self.0.authorization_policies.push(name.into());
        self
    }
}

impl From<Service> for Address {
    fn from(Service(service): Service) -> Self {
        Self(proto::Address {
            r#type: Some(proto::address::Type::Service(service)),
        })
    }
}

impl From<Workload> for Address {
    fn from(Workload(workload): Workload) -> Self {
        Self(proto::Address {
            r#type: Some(proto::address::Type::Workload(workload)),
        })
    }
}

/// Run the test `name` (as libtest knows it) where it may make namespaces, whoever runs it.
pub(crate) fn in_world(name: &str, body: impl AsyncFnOnce()) {
    culvert_lab::test(name, |_lab| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(body());
        Ok(())
    });
}

/// A new network namespace, made by a thread of its own. Inside [`in_world`].
pub(crate) fn fresh_netns() -> Netns {
    let made = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        Netns::current().unwrap()
    });
    made.join().unwrap()
}

/// An authority of this process alone.
pub(crate) fn authority() -> Root {
    let dir = tempfile::tempdir().unwrap();
    Root::load_or_create(dir.path(), TrustDomain::new("cluster.local").unwrap()).unwrap()
}

/// A node that knows `mesh`, and whose pods get certificates of `root`. To be called inside a tokio runtime.
pub(crate) fn node(mesh: &Mesh, root: Root) -> Arc<Node> {
    node_asking(mesh, root, Asking::nothing())
}

/// One that asks for what it needs.
pub(crate) fn node_asking(mesh: &Mesh, root: Root, asking: Asking) -> Arc<Node> {
    let source = LocalSource::new(root, Duration::from_secs(3600));
    let (_trust, trusted) = bundle::channel();
    let manager = SecretManager::new(Arc::new(source), trusted, SecretOptions::default());
    let certificates = Certificates::new(manager);
    certificates.set_trust_domain(TrustDomain::new("cluster.local").unwrap(), []);
    let tunnel = TunnelConfig::default();
    Arc::new(Node {
        store: mesh.0.clone(),
        faults: Faults::default(),
        egress: Egress::new(Vec::new()),
        asking,
        certificates,
        cores: DataCores::start(2, &tunnel).unwrap(),
        limits: Limits {
            workload_wait: Duration::from_millis(200),
            ..Limits::default()
        },
        tunnel,
        quota: Quota::new(100),
        load: Load::default(),
        neighbours: Neighbours::default(),
        resolver: Resolver::new(Servers::new(Vec::new())),
    })
}

/// Bring the loopback of a namespace up.
pub(crate) fn loopback_up(netns: &Netns) {
    script(netns, "ip link set lo up");
}

/// Run a shell script in a namespace.
pub(crate) fn script(netns: &Netns, text: &str) {
    let run = || {
        std::process::Command::new("sh")
            .args(["-ec", text])
            .output()
            .unwrap()
    };
    let output = netns.run(run).unwrap();
    assert!(
        output.status.success(),
        "{text}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
