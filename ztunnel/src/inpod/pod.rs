//! A pod that this node's ztunnel carries the traffic of.
//!
//! Invariant: a [`Pod`] exists only for a network namespace that was checked to be a pod's own: not ours, and holding
//! every address that the agent says the pod has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culvert_identity::SpiffeId;
use culvert_runtime::limits::Limits;
use culvert_runtime::net::{self, SocketOptions};
use culvert_runtime::netns::{Netns, NetnsId};
use culvert_xds::state::{Snapshot, Workload};
use culvert_zds::WorkloadInfo;
use nix::ifaddrs::getifaddrs;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::certificates::Certificate;
use crate::proxy::connections::{Connections, Quota};
use crate::proxy::handshakes::Handshakes;

use super::ephemeral::Ephemeral;

/// Names that may be looked up at once because of one pod's connections.
const LOOKUPS: usize = 32;

/// Why a pod cannot be served. Says which pod and what about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error("pod {0}: the agent does not say who it is (workload_info is missing)")]
    Nameless(Arc<str>),
    #[error("pod {uid}: network namespace: {error}")]
    Netns { uid: Arc<str>, error: io::Error },
    #[error("pod {0}: network namespace: it is ztunnel's own, not the pod's")]
    OwnNetns(Arc<str>),
    #[error("pod {uid}: network namespace: it has no address {missing}, so it is not this pod's")]
    WrongNetns { uid: Arc<str>, missing: IpAddr },
    #[error("pod {uid}: network namespace: pod {other} is served in it already")]
    SharedNetns { uid: Arc<str>, other: Arc<str> },
    #[error("pod {uid}: listeners: {error}")]
    Listeners { uid: Arc<str>, error: io::Error },
    #[error("pod {0} is not known here")]
    Unknown(String),
}

/// What every connection of a pod shares.
#[derive(Debug)]
pub(crate) struct Pod {
    serial: u64,
    uid: Arc<str>,
    tunnels: Arc<str>,
    info: WorkloadInfo,
    addresses: Vec<IpAddr>,
    netns: Netns,
    mark: u32,
    ephemeral: Ephemeral,
    /// The open connections of this pod.
    pub(crate) connections: Arc<Connections>,
    /// The certificate of the pod's service account.
    pub(crate) certificate: Certificate,
    /// Tunnels to this pod on which no stream was opened yet.
    pub(crate) handshakes: Handshakes,
    /// Names that are being looked up because of this pod's connections.
    lookups: Semaphore,
}

/// A pod as the admin server shows it.
#[derive(Debug, Serialize)]
pub(crate) struct PodView {
    uid: Arc<str>,
    name: String,
    namespace: String,
    service_account: String,
    addresses: Vec<IpAddr>,
    identity: Option<String>,
    connections: usize,
}

impl Pod {
    /// Check that `netns` is that of the pod that `workload` describes.
    pub(crate) fn new(
        workload: culvert_zds::Workload,
        netns: Netns,
        limits: &Limits,
        quota: &Arc<Quota>,
    ) -> Result<Self, PodError> {
        let uid: Arc<str> = workload.uid.into();
        let info = workload
            .info
            .ok_or_else(|| PodError::Nameless(uid.clone()))?;
        let failed = |error| PodError::Netns {
            uid: uid.clone(),
            error,
        };
        if Netns::current().map_err(failed)?.id() == netns.id() {
            return Err(PodError::OwnNetns(uid));
        }
        let addresses = netns
            .run(addresses)
            .and_then(|found| found)
            .map_err(failed)?;
        if let Some(&missing) = workload.addresses.iter().find(|ip| !addresses.contains(ip)) {
            return Err(PodError::WrongNetns { uid, missing });
        }
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            serial,
            tunnels: format!("{uid}#{serial}").into(),
            connections: Connections::new(limits.connections_per_pod, quota.clone()),
            handshakes: Handshakes::new(limits.handshakes_per_pod),
            lookups: Semaphore::new(LOOKUPS),
            certificate: Certificate::default(),
            ephemeral: Ephemeral::default(),
            // A stock agent names no addresses; then what the namespace has is what the pod has.
            addresses: if workload.addresses.is_empty() {
                addresses
            } else {
                workload.addresses
            },
            mark: workload.mark,
            uid,
            info,
            netns,
        })
    }

    /// Unlike the uid, different each time that the pod joins.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// What the agent calls it.
    pub(crate) fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    /// What its tunnels to others are known by. They belong to its network namespace, so it is not the uid alone.
    pub(crate) fn tunnels(&self) -> &Arc<str> {
        &self.tunnels
    }

    /// Who it is.
    pub(crate) fn info(&self) -> &WorkloadInfo {
        &self.info
    }

    /// Whether `ip` is one of its own.
    pub(crate) fn owns(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    /// The workload that it is, known by the agent's name for it, by its own name or by its address, if it runs as whom
    /// the agent says. On Kubernetes the agent's name for it is the object's uid, which no workload has.
    pub(crate) fn workload<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Workload>> {
        let is_this = |workload: &&'a Arc<Workload>| {
            **workload.namespace() == *self.info.namespace
                && workload.name() == self.info.name
                && workload.identity().service_account() == self.info.service_account
        };
        let by_address = || {
            self.addresses
                .iter()
                .find_map(|&ip| snapshot.workload_by_ip(ip).filter(is_this))
        };
        // A pod that follows another of its name has other addresses until the controller has told of it.
        let is_here = |workload: &&'a Arc<Workload>| {
            let addresses = workload.addresses();
            addresses.is_empty() || addresses.iter().any(|ip| self.owns(*ip))
        };
        let by_name = || {
            let (namespace, name) = (&self.info.namespace, &self.info.name);
            let cluster = &snapshot.settings().cluster_id;
            let uid = format!("{cluster}//Pod/{namespace}/{name}");
            snapshot.workload(&uid).filter(is_this).filter(is_here)
        };
        snapshot
            .workload(&self.uid)
            .filter(is_this)
            .or_else(by_name)
            .or_else(by_address)
    }

    /// Its addresses.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its network namespace's identity.
    pub(crate) fn netns_id(&self) -> NetnsId {
        self.netns.id()
    }

    /// Its network namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The mark that its capture rules let past.
    pub(crate) fn mark(&self) -> u32 {
        self.mark
    }

    /// One permit for each name that is being looked up because of its connections.
    pub(crate) fn lookups(&self) -> &Semaphore {
        &self.lookups
    }

    /// Dial `addr` from inside the pod, past its capture rules, as the pod itself.
    pub(crate) async fn dial(&self, addr: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let options = SocketOptions {
            mark: Some(self.mark),
            source: None,
        };
        let socket = self.netns.run(|| net::tcp_socket(&addr, &options))??;
        net::connect(socket, addr, deadline).await
    }

    /// Dial the pod's own application, with the address of the client that asked for it.
    pub(crate) async fn dial_from(
        &self,
        client: IpAddr,
        addr: SocketAddr,
        deadline: Duration,
    ) -> io::Result<TcpStream> {
        self.ephemeral
            .dial(&self.netns, self.mark, client, addr, deadline)
            .await
    }

    /// For the admin server.
    pub(crate) fn view(&self) -> PodView {
        PodView {
            uid: self.uid.clone(),
            name: self.info.name.clone(),
            namespace: self.info.namespace.clone(),
            service_account: self.info.service_account.clone(),
            addresses: self.addresses.clone(),
            identity: self.certificate.id().as_ref().map(SpiffeId::to_string),
            connections: self.connections.len(),
        }
    }
}

/// The addresses of the current namespace, loopback apart.
fn addresses() -> io::Result<Vec<IpAddr>> {
    let ip = |address: &nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let found = getifaddrs()?.filter_map(|interface| interface.address.as_ref().and_then(ip));
    Ok(found.filter(|ip| !ip.is_loopback()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fresh_netns, in_world};

    fn workload(addresses: &[&str]) -> culvert_zds::Workload {
        culvert_zds::Workload {
            uid: "c//Pod/demo/web".into(),
            info: Some(WorkloadInfo {
                name: "web".into(),
                namespace: "demo".into(),
                service_account: "web".into(),
            }),
            mark: 1,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn pod(workload: culvert_zds::Workload, netns: Netns) -> Result<Pod, PodError> {
        Pod::new(workload, netns, &Limits::default(), &Quota::new(1))
    }

    #[test]
    fn our_own_namespace_is_no_pods() {
        let error = pod(workload(&[]), Netns::current().unwrap()).unwrap_err();
        assert!(matches!(error, PodError::OwnNetns(_)), "{error}");
        let nameless = culvert_zds::Workload {
            info: None,
            ..workload(&[])
        };
        let error = pod(nameless, Netns::current().unwrap()).unwrap_err();
        assert!(matches!(error, PodError::Nameless(_)), "{error}");
    }

    #[test]
    fn a_namespace_without_the_pods_address_is_another_pods() {
        let name = "inpod::pod::tests::a_namespace_without_the_pods_address_is_another_pods";
        in_world(name, async || {
            let error = pod(workload(&["10.0.0.7"]), fresh_netns()).unwrap_err();
            assert!(error.to_string().contains("10.0.0.7"), "{error}");
        });
    }

    #[test]
    fn under_the_objects_uid_it_is_found_by_its_name_and_never_as_another() {
        use crate::testing::{Mesh, workload as known};
        let name =
            "inpod::pod::tests::under_the_objects_uid_it_is_found_by_its_name_and_never_as_another";
        in_world(name, async || {
            let netns = fresh_netns();
            crate::testing::loopback_up(&netns);
            let found = |mesh: &Mesh, account: &str| {
                let mut told = workload(&[]);
                told.uid = "0b8f2c5e-1d0f-4c1c-9c38-2f7b5a7d9e10".into();
                if let Some(info) = &mut told.info {
                    info.service_account = account.into();
                }
                mesh.put_settings();
                let unchecked = Pod {
                    addresses: vec!["10.0.0.7".parse().unwrap()],
                    ..pod(told, netns.clone()).unwrap()
                };
                unchecked.workload(&mesh.snapshot()).is_some()
            };
            // Its address is claimed by another, too, so nobody has it.
            let nameless = Mesh::new([known("demo", "web").into()]);
            assert!(found(&nameless, "web"));
            assert!(!found(&nameless, "other"), "another identity");
            let former = Mesh::new([known("demo", "web").ip("10.0.0.6").into()]);
            assert!(
                !found(&former, "web"),
                "the pod before it, of the same name"
            );
            let present = Mesh::new([known("demo", "web").ip("10.0.0.7").into()]);
            assert!(found(&present, "web"));
            let another = Mesh::new([known("demo", "db").ip("10.0.0.7").into()]);
            assert!(!found(&another, "web"));
        });
    }
}
