//! A pod of this node, as its source tells of it.
//!
//! Invariant: what reaches the capture rules was parsed here: ports are ports, networks are networks,
//! and nothing excludes the mesh's own ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use culvert_proto::node as proto;
use culvert_zds::WorkloadInfo;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::capture::rules::{DNS_PORT, HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT};
use crate::place::Place;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its workload's uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its own addresses; none before the network is set up.
    pub addresses: Vec<IpAddr>,
    /// Its network namespace, once there is one.
    pub netns: Place,
    /// Its traffic is to be captured.
    pub enrolled: bool,
    /// How.
    pub options: CaptureOptions,
    /// Where it takes no plaintext; `None` while nobody has said.
    #[serde(default)]
    pub strict: Option<Strict>,
}

/// Where a pod takes no plaintext, by PeerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strict {
    /// On every port but [`Strict::ports`]; else on these only.
    pub every_port: bool,
    /// Those that differ from the rest.
    pub ports: BTreeSet<u16>,
}

impl Strict {
    /// Whether the pod takes plaintext nowhere or only in some places.
    #[must_use]
    pub fn is_somewhere(&self) -> bool {
        self.every_port || !self.ports.is_empty()
    }

    /// Whether it takes none on this port.
    #[must_use]
    pub fn covers(&self, port: u16) -> bool {
        self.every_port != self.ports.contains(&port)
    }
}

/// What of a pod's traffic is captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureOptions {
    /// TCP ports of the pod that clients reach directly.
    pub exclude_inbound_ports: BTreeSet<u16>,
    /// TCP ports anywhere that the pod reaches directly.
    pub exclude_outbound_ports: BTreeSet<u16>,
    /// Networks that the pod reaches directly.
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// DNS goes to ztunnel.
    pub dns_capture: bool,
    /// TCP ports of the pod that the kubelet's probes and lifecycle hooks dial at the pod's own address;
    /// the node's own connections to them, and nobody else's, are let past.
    #[serde(default)]
    pub probe_ports: BTreeSet<u16>,
}

/// What is wrong with a pod that a source told of.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PodError {
    /// A field that must be set is not.
    #[error("pod {uid:?}: {field} is empty")]
    Empty {
        /// The pod.
        uid: String,
        /// The field.
        field: &'static str,
    },
    /// An address of neither 4 nor 16 bytes.
    #[error("pod {uid}: addresses: an address of {length} bytes")]
    Address {
        /// The pod.
        uid: String,
        /// Of the address.
        length: usize,
    },
    /// A path that depends on where the agent happens to run.
    #[error("pod {uid}: netns: {path} is not absolute")]
    Netns {
        /// The pod.
        uid: String,
        /// What was given.
        path: String,
    },
    /// Not a port, or one that cannot be excluded.
    #[error("pod {uid}: {field}: {port} is not a port that can be excluded")]
    Port {
        /// The pod.
        uid: String,
        /// The field.
        field: &'static str,
        /// What was given.
        port: u32,
    },
    /// Not a network.
    #[error("pod {uid}: exclude_outbound_cidrs: {value:?} is not a network")]
    Cidr {
        /// The pod.
        uid: String,
        /// What was given.
        value: String,
    },
}

impl Pod {
    /// Who it is, for ztunnel.
    #[must_use]
    pub fn info(&self) -> WorkloadInfo {
        WorkloadInfo {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
        }
    }
}

impl TryFrom<proto::Pod> for Pod {
    type Error = PodError;

    fn try_from(pod: proto::Pod) -> Result<Self, PodError> {
        let uid = pod.uid;
        for (field, value) in [
            ("uid", &uid),
            ("name", &pod.name),
            ("namespace", &pod.namespace),
            ("service_account", &pod.service_account),
        ] {
            if value.is_empty() {
                let uid = uid.clone();
                return Err(PodError::Empty { uid, field });
            }
        }
        if !pod.netns.is_empty() && !pod.netns.starts_with('/') {
            let path = pod.netns;
            return Err(PodError::Netns { uid, path });
        }
        let addresses = pod.addresses.iter().map(|bytes| address(&uid, bytes));
        let addresses = addresses.collect::<Result<_, _>>()?;
        let options = options(&uid, pod.capture.unwrap_or_default())?;
        Ok(Self {
            addresses,
            options,
            uid,
            name: pod.name,
            namespace: pod.namespace,
            service_account: pod.service_account,
            netns: pod.netns.into(),
            enrolled: pod.enrolled,
            strict: pod.strict.map(Into::into),
        })
    }
}

impl From<proto::Strict> for Strict {
    fn from(strict: proto::Strict) -> Self {
        // What is no port has no connections.
        let ports = strict.ports.into_iter().filter_map(|p| p.try_into().ok());
        Self {
            every_port: strict.every_port,
            ports: ports.collect(),
        }
    }
}

fn options(uid: &str, options: proto::CaptureOptions) -> Result<CaptureOptions, PodError> {
    let nets = options.exclude_outbound_cidrs.into_iter().map(|value| {
        // The host's bits would make the rule read back differ from the rule written.
        let net = value.parse::<IpNet>().map(|net| net.trunc());
        net.map_err(|_| PodError::Cidr {
            uid: uid.to_owned(),
            value,
        })
    });
    Ok(CaptureOptions {
        exclude_inbound_ports: ports(uid, "exclude_inbound_ports", &options.exclude_inbound_ports)?,
        exclude_outbound_ports: ports(
            uid,
            "exclude_outbound_ports",
            &options.exclude_outbound_ports,
        )?,
        exclude_outbound_cidrs: nets.collect::<Result<_, _>>()?,
        dns_capture: options.dns_capture,
        // A standalone mesh has no kubelet.
        probe_ports: BTreeSet::new(),
    })
}

fn ports(uid: &str, field: &'static str, ports: &[u32]) -> Result<BTreeSet<u16>, PodError> {
    let own = [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT, DNS_PORT];
    let port = |&port: &u32| match u16::try_from(port) {
        Ok(number) if number != 0 && !own.contains(&number) => Ok(number),
        _ => Err(PodError::Port {
            uid: uid.to_owned(),
            field,
            port,
        }),
    };
    ports.iter().map(port).collect()
}

fn address(uid: &str, bytes: &[u8]) -> Result<IpAddr, PodError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_err(|_| PodError::Address {
        uid: uid.to_owned(),
        length: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> proto::Pod {
        proto::Pod {
            uid: "c//Pod/ns/a".into(),
            name: "a".into(),
            namespace: "ns".into(),
            service_account: "default".into(),
            addresses: vec![vec![10, 0, 0, 5].into(), vec![0xfd; 16].into()],
            netns: "/run/netns/a".into(),
            enrolled: true,
            capture: Some(proto::CaptureOptions {
                exclude_inbound_ports: vec![8080],
                exclude_outbound_ports: vec![5432, 5432],
                exclude_outbound_cidrs: vec!["10.1.2.3/8".into()],
                dns_capture: true,
            }),
            strict: None,
        }
    }

    #[test]
    fn strict_is_every_port_but_some_or_some_only_or_not_known() {
        let strict = |every_port, ports: &[u32]| {
            let ports = ports.to_vec();
            Strict::from(proto::Strict { every_port, ports })
        };
        let covers = |strict: &Strict| [8080, 9090].map(|port| strict.covers(port));
        assert_eq!(covers(&strict(true, &[])), [true, true]);
        assert_eq!(covers(&strict(true, &[9090, 70_000])), [true, false]);
        assert_eq!(covers(&strict(false, &[9090])), [false, true]);
        assert!(!strict(false, &[]).is_somewhere());
        assert!(strict(false, &[1]).is_somewhere() && strict(true, &[1]).is_somewhere());
        assert_eq!(Pod::try_from(told()).unwrap().strict, None);
    }

    #[test]
    fn parses_what_the_rules_need() {
        let pod = Pod::try_from(told()).unwrap();
        assert_eq!(pod.addresses.len(), 2);
        assert_eq!(pod.options.exclude_outbound_ports, [5432].into());
        let nets = &pod.options.exclude_outbound_cidrs;
        assert_eq!(nets, &["10.0.0.0/8".parse::<IpNet>().unwrap()]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Break = fn(&mut proto::Pod, &mut proto::CaptureOptions);
        let broken: [(Break, &str); 7] = [
            (|pod, _| pod.uid.clear(), "uid is empty"),
            (|pod, _| pod.addresses[0] = vec![1].into(), "of 1 bytes"),
            (|pod, _| pod.netns = "netns/a".into(), "not absolute"),
            (|_, o| o.exclude_inbound_ports.push(0), "inbound_ports: 0"),
            (|_, o| o.exclude_inbound_ports.push(15006), "15006"),
            (|_, o| o.exclude_outbound_ports.push(70_000), "70000"),
            (|_, o| o.exclude_outbound_cidrs.push("10/8".into()), "10/8"),
        ];
        for (break_it, expected) in broken {
            let mut pod = told();
            let mut options = pod.capture.take().unwrap();
            break_it(&mut pod, &mut options);
            pod.capture = Some(options);
            let error = Pod::try_from(pod).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
