//! Where work is done: a client on one node; a server on the other node, one on the client's own, and one outside of the
//! mesh; and a crowd of further clients. Every server is nginx and iperf3.

use crate::wire::{Way, Wire};
use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, Pod, Process, programs};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

/// Port of nginx.
pub(crate) const HTTP: u16 = 8080;
/// Port of iperf3.
pub(crate) const BULK: u16 = 5201;
/// TCP's congestion control of every connection in the pods, whatever the machine's is: bbr's pacing alone can cost
/// more than a proxy.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";
/// The namespace of all pods.
pub(crate) const NAMESPACE: &str = "bench";

/// Of a range for documentation: in no mesh's ranges, so that it is outside of this one.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Of a packet and its answer between zones of a region that lie far from each other.
const ROUND_TRIP: Duration = Duration::from_millis(5);
/// Packets of a million that a bad network loses.
const LOST: u32 = 1000;
const TUNNEL_PORT: u16 = 15008;
/// The kernel's name for a connection that is established, in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Where the server is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// On the other node.
    TwoNodes,
    /// On the client's node.
    SameNode,
    /// Behind the other node, in no mesh.
    Outside,
    /// On the other node, [`ROUND_TRIP`] away.
    Distant,
    /// There too, where [`LOST`] of a million packets are lost either way.
    Lossy,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TwoNodes => "two nodes",
            Self::SameNode => "same node",
            Self::Outside => "outside",
            Self::Distant => "5 ms away",
            Self::Lossy => "5ms lossy",
        })
    }
}

impl Place {
    /// Unless it is as near as the nodes' link.
    pub(crate) fn way(self) -> Option<Way> {
        let lost_of_million = match self {
            Self::TwoNodes | Self::SameNode | Self::Outside => return None,
            Self::Distant => 0,
            Self::Lossy => LOST,
        };
        Some(Way {
            delay: ROUND_TRIP / 2,
            lost_of_million,
        })
    }
}

/// What a server answers, by the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    B64,
    K1,
    K64,
}

impl Body {
    pub(crate) const ALL: [Self; 3] = [Self::B64, Self::K1, Self::K64];

    pub(crate) fn size(self) -> usize {
        match self {
            Self::B64 => 64,
            Self::K1 => 1024,
            Self::K64 => 65536,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::B64 => "64B",
            Self::K1 => "1KB",
            Self::K64 => "64KB",
        }
    }
}

/// The pods, and what runs in them.
pub(crate) struct Stage {
    client: Pod,
    far: Pod,
    near: Pod,
    hop: Pod,
    crowd: Vec<Pod>,
    wire: Option<Wire>,
    _servers: Vec<Process>,
}

impl Stage {
    /// Makes the pods and waits until all servers listen.
    pub(crate) fn create(lab: &Lab, crowd: usize) -> Result<Self> {
        programs::require(&[programs::NGINX, programs::IPERF3])?;
        let pod = |node: &str, name: &str| lab.pod(node, NAMESPACE, name, name);
        let (client, far) = (pod("n1", "client")?, pod("n2", "far")?);
        let (near, outside) = (pod("n1", "near")?, pod("n2", "outside")?);
        let hop = pod("n2", "hop")?;
        let crowd: Vec<Pod> = (0..crowd)
            .map(|i| pod("n1", &format!("crowd-{i}")))
            .collect::<Result<_>>()?;
        route_outside(lab, &outside)?;
        let mut servers = Vec::new();
        for pod in [&client, &far, &near, &outside, &hop]
            .into_iter()
            .chain(&crowd)
        {
            set_congestion_control(pod)?;
        }
        for pod in [&far, &near, &outside] {
            servers.extend(serve(lab, pod)?);
        }
        Ok(Self {
            client,
            far,
            near,
            hop,
            crowd,
            wire: None,
            _servers: servers,
        })
    }

    /// Lays a longer way between the nodes, for places that need one.
    pub(crate) fn lay_wire(&mut self, lab: &Lab) -> Result<()> {
        self.wire = Some(Wire::open(lab)?);
        Ok(())
    }

    /// Whether work can be done at this place.
    pub(crate) fn has(&self, place: Place) -> bool {
        place.way().is_none() || self.wire.is_some()
    }

    /// Makes the way to the server as long as this place says.
    pub(crate) fn travel(&self, lab: &Lab, place: Place) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        if !wire.lead(lab, place.way())? {
            return Ok(());
        }
        // What connections of the last place found out about their way is no help at this one.
        for pod in [&self.client, &self.far].into_iter().chain(&self.crowd) {
            pod.net.script("ip tcp_metrics flush")?;
        }
        Ok(())
    }

    /// Where work is started.
    pub(crate) fn client(&self) -> &Pod {
        &self.client
    }

    /// The server on the other node.
    pub(crate) fn far(&self) -> &Pod {
        &self.far
    }

    /// Where an L7 hop runs, on the other node; never captured.
    pub(crate) fn hop(&self) -> &Pod {
        &self.hop
    }

    /// Further clients, beside the first.
    pub(crate) fn crowd(&self) -> &[Pod] {
        &self.crowd
    }

    /// Everyone who can be of the mesh.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        [&self.client, &self.far, &self.near]
            .into_iter()
            .chain(&self.crowd)
    }

    /// A server's address.
    pub(crate) fn server(&self, place: Place, port: u16) -> SocketAddr {
        let ip = match place {
            Place::TwoNodes | Place::Distant | Place::Lossy => self.far.ip(),
            Place::SameNode => self.near.ip(),
            Place::Outside => IpAddr::V4(OUTSIDE),
        };
        SocketAddr::new(ip, port)
    }

    /// One request; fails unless the right bytes come back.
    pub(crate) fn request(&self, place: Place) -> Result<()> {
        let url = format!("http://{}/64B", self.server(place, HTTP));
        let body = self
            .client
            .net
            .run(&["curl", "-sS", "--max-time", "5", &url])?;
        ensure!(body == text(Body::B64), "the answer is {body:?}");
        Ok(())
    }

    /// Whether the client's namespace holds an established connection to a tunnel port.
    pub(crate) fn tunnelled(&self) -> Result<bool> {
        let table = self
            .client
            .net
            .run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
        let suffix = format!(":{TUNNEL_PORT:04X}");
        Ok(table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let remote = fields.next().unwrap_or_default();
            remote.ends_with(&suffix) && fields.next() == Some(ESTABLISHED)
        }))
    }
}

fn route_outside(lab: &Lab, outside: &Pod) -> Result<()> {
    let behind = lab.node("n2")?;
    outside
        .net
        .script(&format!("ip addr add {OUTSIDE}/32 dev lo"))?;
    behind
        .net
        .script(&format!("ip route add {OUTSIDE}/32 via {}", outside.ip()))?;
    lab.node("n1")?.net.script(&format!(
        "ip route add {OUTSIDE}/32 via {}",
        behind.address(lab.family())
    ))?;
    Ok(())
}

fn serve(lab: &Lab, pod: &Pod) -> Result<[Process; 2]> {
    let dir = lab.subdir(&format!("server-{}", pod.name))?;
    for body in Body::ALL {
        fs::write(dir.join(body.name()), text(body))?;
    }
    let config = dir.join("nginx.conf");
    fs::write(&config, nginx_config(&dir))?;
    let (config, bulk) = (config.display().to_string(), BULK.to_string());
    let name = |program: &str| format!("{program}-{}", pod.name);
    let mut nginx = pod.net.spawn(&name("nginx"), &["nginx", "-c", &config])?;
    let iperf = ["iperf3", "-s", "--logfile", "/dev/null", "-p", &bulk];
    let mut iperf = pod.net.spawn(&name("iperf3"), &iperf)?;
    pod.net.wait_for_server(&mut nginx, HTTP)?;
    pod.net.wait_for_server(&mut iperf, BULK)?;
    Ok([nginx, iperf])
}

fn text(body: Body) -> String {
    "0123456789abcdef".repeat(body.size() / 16)
}

/// By the routes, the local ones too: these no namespace is forbidden to change.
fn set_congestion_control(pod: &Pod) -> Result<()> {
    pod.net
        .script(&format!(
            "for table in main local; do
                 ip -4 route show table $table | while read -r route; do
                     case $route in
                         broadcast*) ;;
                         *) ip -4 route replace $route table $table congctl {CONGESTION_CONTROL} ;;
                     esac
                 done
             done"
        ))
        .context("setting congestion control")?;
    Ok(())
}

/// One worker, no log, connections that are never closed for their age. The small body comes from memory, the others
/// from files that stay open.
fn nginx_config(dir: &Path) -> String {
    let dir = dir.display();
    let (small, name) = (text(Body::B64), Body::B64.name());
    format!(
        r#"daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    tcp_nodelay on;
    open_file_cache max=16;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {{
        listen {HTTP} backlog=4096;
        listen [::]:{HTTP} backlog=4096;
        root {dir};
        location = /{name} {{ return 200 "{small}"; }}
    }}
}}
"#
    )
}
