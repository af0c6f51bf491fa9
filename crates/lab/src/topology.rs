//! Nodes, the link between them, and pods.
//!
//! Two nodes, `n1` and `n2`, each a network namespace with a bridge for its pods; a veth pair joins them and is called
//! `uplink` at both ends. Addresses: the link 10.10.0.0/24 and fd10:10::/64, pods of node N 10.1N.0.0/24 and
//! fd10:1N::/64, services by convention 10.96.0.0/16 and fd10:96::/112.

use crate::{Netns, process, world};
use anyhow::{Context, Result, ensure};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

/// The interface that joins a node to the other one: what to capture on.
pub const LINK: &str = "uplink";

/// Which addresses pods have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Dual,
    /// IPv6 alone, for the link too.
    V6,
}

/// The laboratory of a private world.
#[derive(Debug)]
pub struct Lab {
    family: Family,
    nodes: [Node; 2],
    used: RefCell<BTreeMap<String, u8>>,
}

/// A node: a network namespace with a bridge.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its network namespace.
    pub net: Netns,
    number: u8,
}

/// A pod: a network namespace on a node's bridge.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its network namespace.
    pub net: Netns,
    /// Kubernetes' namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// The name of its service account.
    pub service_account: String,
    /// The name of its node.
    pub node: String,
    /// IPv4 address, unless the laboratory has IPv6 alone.
    pub ip4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ip6: Ipv6Addr,
}

impl Lab {
    /// Two joined nodes with both families. To be called inside a world.
    pub fn new() -> Result<Self> {
        Self::with_family(Family::Dual)
    }

    /// Two joined nodes.
    pub fn with_family(family: Family) -> Result<Self> {
        ensure!(
            world::inside(),
            "a laboratory is made in a private world: call culvert_lab::enter() first"
        );
        let nodes = [Node::create(1, family)?, Node::create(2, family)?];
        let (one, two) = (&nodes[0].net, &nodes[1].net);
        process::run(
            "ip",
            &[
                "link",
                "add",
                LINK,
                "netns",
                one.name(),
                "type",
                "veth",
                "peer",
                "name",
                LINK,
                "netns",
                two.name(),
            ],
        )?;
        for node in &nodes {
            node.join(family)?;
        }
        let lab = Self {
            family,
            nodes,
            used: RefCell::default(),
        };
        lab.lead_over(None)?;
        Ok(lab)
    }

    /// Leads what goes from a node to the other one's pods over the device of this name, which both nodes have; with
    /// none over [`LINK`].
    pub fn lead_over(&self, device: Option<&str>) -> Result<()> {
        let [one, two] = &self.nodes;
        for (node, peer) in [(one, two), (two, one)] {
            for (range, gateway) in peer.ranges(self.family) {
                let way = match device {
                    Some(device) => format!("dev {device}"),
                    None => format!("via {gateway}"),
                };
                node.net
                    .script(&format!("ip route replace {range} {way}"))?;
            }
        }
        Ok(())
    }

    /// The directory of this world's files, gone with it.
    pub fn dir(&self) -> &Path {
        Path::new(world::DIR)
    }

    /// Creates (if need be) and names a directory below [`Self::dir`].
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Which addresses pods have.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Both nodes.
    pub fn nodes(&self) -> &[Node; 2] {
        &self.nodes
    }

    /// The node `n1` or `n2`.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .with_context(|| format!("no node {name}"))
    }

    /// A new pod on a node.
    pub fn pod(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Result<Pod> {
        let node = self.node(node)?;
        let host = *self
            .used
            .borrow_mut()
            .entry(node.name().to_owned())
            .and_modify(|last| *last += 1)
            .or_insert(10);
        let ip4 =
            (self.family == Family::Dual).then(|| Ipv4Addr::new(10, 10 + node.number, 0, host));
        let ip6 = node.ip6(u16::from(host));
        let mut pod = Pod {
            net: Netns::create(&format!("{namespace}-{name}"))?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            service_account: service_account.to_owned(),
            node: node.name().to_owned(),
            ip4,
            ip6,
        };
        node.attach(&pod, host)?;
        let nameserver = if ip4.is_some() {
            IpAddr::V4(node.ip4(1))
        } else {
            IpAddr::V6(node.ip6(1))
        };
        pod.net.set_resolver(&format!(
            "nameserver {nameserver}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5 timeout:2 attempts:2\n"
        ))?;
        Ok(pod)
    }

    /// Removes a pod's namespace (which ends when its last process does).
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        process::run("ip", &["netns", "del", pod.net.name()])?;
        Ok(())
    }

    /// Prints the last lines of each process's log, for a person who wants to know why something failed.
    pub fn print_logs(&self, lines_each: usize) {
        let Ok(logs) = fs::read_dir(self.dir().join("logs")) else {
            return;
        };
        let mut paths: Vec<_> = logs.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(lines_each)..];
            eprintln!(
                "--- {} (last {} of {} lines)\n{}",
                path.display(),
                shown.len(),
                lines.len(),
                shown.join("\n")
            );
        }
    }
}

impl Node {
    fn create(number: u8, family: Family) -> Result<Self> {
        let node = Self {
            net: Netns::create(&format!("n{number}"))?,
            number,
        };
        let v4 = match family {
            Family::Dual => format!("ip addr add {}/24 dev pods", node.ip4(1)),
            Family::V6 => String::new(),
        };
        node.net.script(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             ip link add pods type bridge
             ip link set pods up
             {v4}
             ip addr add {}/64 dev pods nodad",
            node.ip6(1)
        ))?;
        Ok(node)
    }

    /// Addresses of the link to the other node.
    fn join(&self, family: Family) -> Result<()> {
        let me = self.number;
        let v4 = match family {
            Family::Dual => format!("ip addr add 10.10.0.{me}/24 dev {LINK}"),
            Family::V6 => String::new(),
        };
        self.net.script(&format!(
            "ip link set {LINK} up
             {v4}
             ip addr add fd10:10::{me}/64 dev {LINK} nodad"
        ))?;
        Ok(())
    }

    /// Of its pods' addresses, each with the node's own on the link.
    pub fn ranges(&self, family: Family) -> Vec<(String, IpAddr)> {
        let number = self.number;
        let v6 = (format!("fd10:1{number}::/64"), self.address(Family::V6));
        match family {
            Family::Dual => vec![
                (format!("10.1{number}.0.0/24"), self.address(Family::Dual)),
                v6,
            ],
            Family::V6 => vec![v6],
        }
    }

    fn attach(&self, pod: &Pod, host: u8) -> Result<()> {
        let port = format!("pod{host}");
        let (node, name) = (self.net.name(), pod.net.name());
        process::run(
            "ip",
            &[
                "link", "add", &port, "netns", node, "type", "veth", "peer", "name", "eth0",
                "netns", name,
            ],
        )?;
        self.net.script(&format!(
            "ip link set {port} master pods; ip link set {port} up"
        ))?;
        let v4 = match pod.ip4 {
            Some(ip) => format!(
                "ip addr add {ip}/24 dev eth0
                 ip route add default via {}",
                self.ip4(1)
            ),
            None => String::new(),
        };
        pod.net.script(&format!(
            "ip link set eth0 up
             {v4}
             ip addr add {}/64 dev eth0 nodad
             ip route add default via {}",
            pod.ip6,
            self.ip6(1)
        ))?;
        Ok(())
    }

    /// `n1` or `n2`.
    pub fn name(&self) -> &str {
        self.net.name()
    }

    /// Its address on the link.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Dual => IpAddr::V4(Ipv4Addr::new(10, 10, 0, self.number)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(
                0xfd10,
                0x10,
                0,
                0,
                0,
                0,
                0,
                u16::from(self.number),
            )),
        }
    }

    fn ip4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 10 + self.number, 0, host)
    }

    fn ip6(&self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd10, 0x10 + u16::from(self.number), 0, 0, 0, 0, 0, host)
    }
}

impl Pod {
    /// Its first address: IPv4 where it has one.
    pub fn ip(&self) -> IpAddr {
        self.ip4.map_or(IpAddr::V6(self.ip6), IpAddr::V4)
    }

    /// All its addresses.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.ip4
            .map(IpAddr::V4)
            .into_iter()
            .chain([IpAddr::V6(self.ip6)])
            .collect()
    }

    /// The identity that the mesh gives it in the default trust domain.
    pub fn identity(&self) -> String {
        format!(
            "spiffe://cluster.local/ns/{}/sa/{}",
            self.namespace, self.service_account
        )
    }

    /// `NAMESPACE/NAME`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
