//! A pod in a private world, rules for it, and the sockets that a ztunnel would have in it.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a step of a test that fails is the test's failure"
)]
#![allow(dead_code, reason = "each suite uses its part of it")]

pub(crate) mod ztunnel;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use culvert_agent::capture::Site;
use culvert_agent::capture::backend::Kind;
use culvert_agent::capture::plan::Step;
use culvert_agent::capture::rules::{Flavour, Mark, Spec};
use culvert_agent::capture::tools::Tools;
use culvert_agent::pod::{CaptureOptions, Pod};
use culvert_lab::{Lab, Netns};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Longer than anything here takes, shorter than a test may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is waited for.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A captured pod and a neighbour on the same node.
pub(crate) struct Bench {
    pub(crate) pod: culvert_lab::Pod,
    pub(crate) client: culvert_lab::Pod,
    pub(crate) tools: Tools,
    pub(crate) told: Pod,
    pub(crate) spec: Spec,
}

/// The pod as its source would tell of it.
pub(crate) fn told(pod: &culvert_lab::Pod) -> Pod {
    Pod {
        uid: format!("Kubernetes//Pod/{}/{}", pod.namespace, pod.name),
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        service_account: pod.service_account.clone(),
        addresses: pod.ips(),
        netns: pod.net.path().into(),
        enrolled: true,
        options: CaptureOptions {
            dns_capture: true,
            ..Default::default()
        },
        strict: None,
    }
}

impl Bench {
    /// With the node's own iptables; nothing is captured yet.
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, Kind::Iptables)
    }

    /// With this backend.
    pub(crate) fn with(lab: &Lab, kind: Kind) -> Result<Self> {
        let pod = lab.pod("n1", "shop", "cart", "cart")?;
        let client = lab.pod("n1", "shop", "client", "client")?;
        let tools = Tools::first_of(&[kind], &lab.dir().join("xtables.lock"))?;
        let told = told(&pod);
        let spec = Spec {
            mark: Mark::random(),
            former: None,
            flavour: Flavour::Culvert,
            options: told.options.clone(),
            generation: 1,
        };
        Ok(Self {
            pod,
            client,
            tools,
            told,
            spec,
        })
    }

    pub(crate) fn site(&self) -> Site {
        Site::of(&self.told, &self.tools).expect("the pod's namespace")
    }

    /// Put the rules in force and say what differed.
    pub(crate) fn ensure(&self) -> Vec<String> {
        let ensured = self.site().ensure(&self.tools, &self.spec, None);
        ensured.expect("rules").drift
    }

    /// Take one step of capture away.
    pub(crate) fn remove(&self, step: Step) {
        self.site().remove(&self.tools, step).expect("removal");
    }

    /// The rules of both families, and the routing half, as the system's own tools print them.
    pub(crate) fn rules(&self) -> Result<String> {
        let variant = self.variant();
        let saved = self.pod.net.script(&format!(
            "for table in raw mangle nat filter; do
                 iptables{variant}-save -t $table; ip6tables{variant}-save -t $table
             done
             ip rule; ip -6 rule
             ip route show table all | grep 'table 100' || true
             ip -6 route show table all | grep 'table 100' || true"
        ))?;
        let nft = self
            .pod
            .net
            .script("nft list table inet culvert 2>&1 || true")?;
        let none = nft.contains("No such file or directory");
        let nft = if none { "" } else { &nft };
        Ok(canonical(&saved) + nft)
    }

    /// What stands after `iptables` where others' rules are made beside ours.
    pub(crate) fn variant(&self) -> &'static str {
        match self.tools.name() {
            "iptables-legacy" => "-legacy",
            _ => "-nft",
        }
    }

    /// Flush this table of both families, as somebody does who means ours or knows nothing of them.
    pub(crate) fn flush(&self, table: &str) -> Result<()> {
        let variant = self.variant();
        let script = match self.tools.name() {
            "nftables" => format!(
                "nft list table inet culvert | sed -n 's/.*chain \\({table}_[a-z]*\\) .*/\\1/p' |
                 while read chain; do nft flush chain inet culvert $chain; done"
            ),
            _ => format!("iptables{variant} -t {table} -F; ip6tables{variant} -t {table} -F"),
        };
        self.pod.net.script(&script)?;
        Ok(())
    }
}

/// Each backend, in a pod of its own.
pub(crate) fn each_backend(lab: &Lab, body: impl Fn(&Bench) -> Result<()>) -> Result<()> {
    for kind in [Kind::IptablesNft, Kind::IptablesLegacy, Kind::Nftables] {
        let bench = Bench::with(lab, kind)?;
        body(&bench).with_context(|| format!("with {}", bench.tools.name()))?;
        lab.remove_pod(&bench.pod)?;
        lab.remove_pod(&bench.client)?;
    }
    Ok(())
}

/// Without what says nothing: comments, counters, and built-in chains that are empty.
fn canonical(saved: &str) -> String {
    let mut tables = String::new();
    let mut table: Vec<&str> = Vec::new();
    for line in saved
        .lines()
        .map(|line| line.split(" [").next().unwrap_or(line))
    {
        match line.as_bytes().first() {
            Some(b'*') => table = vec![line],
            Some(b'#') | None => {}
            Some(b':') if line.ends_with(" ACCEPT") => {}
            _ if line == "COMMIT" => {
                if table.len() > 1 {
                    tables.push_str(&table.join("\n"));
                    tables.push('\n');
                }
            }
            Some(b':' | b'-') => table.push(line),
            Some(_) => {
                tables.push_str(line);
                tables.push('\n');
            }
        }
    }
    tables
}

/// The listening sockets of a ztunnel in the pod.
pub(crate) struct Ztunnel {
    pub(crate) outbound: Socket,
    pub(crate) inbound: Socket,
    pub(crate) dns_tcp: [Socket; 2],
}

impl Ztunnel {
    pub(crate) fn open(pod: &Netns, mark: u32) -> Result<Self> {
        let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let local = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 15053);
        let marked = |address| -> Result<Socket> {
            let listener = listen(pod, address)?;
            listener.set_mark(mark)?;
            Ok(listener)
        };
        Ok(Self {
            outbound: marked(any(15001))?,
            inbound: marked(any(15006))?,
            dns_tcp: [marked(local("127.0.0.1"))?, marked(local("::1"))?],
        })
    }
}

fn socket(address: SocketAddr, kind: Type) -> Socket {
    let protocol = if kind == Type::STREAM {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

/// A TCP listener in a namespace; on `[::]` for both families.
pub(crate) fn listen(net: &Netns, address: SocketAddr) -> Result<Socket> {
    net.enter(|| {
        let socket = socket(address, Type::STREAM);
        if address.is_ipv6() {
            let both = address.ip().is_unspecified();
            socket.set_only_v6(!both).unwrap();
        }
        socket.bind(&address.into()).expect("bind");
        socket.listen(16).unwrap();
        socket
    })
}

/// Accept a connection: it, and who it came from.
pub(crate) fn accept(listener: &Socket) -> (Socket, SocketAddr) {
    let (stream, from) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, canonical_address(&from))
}

fn canonical_address(address: &SockAddr) -> SocketAddr {
    let address = address.as_socket().expect("an IP address");
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where a redirected connection was going.
pub(crate) fn original(stream: &Socket) -> SocketAddr {
    let local = canonical_address(&stream.local_addr().unwrap());
    let address = match local.ip() {
        IpAddr::V4(_) => stream.original_dst_v4(),
        IpAddr::V6(_) => stream.original_dst_v6(),
    };
    canonical_address(&address.expect("an original destination"))
}

/// Connect from a namespace.
pub(crate) fn connect(net: &Netns, to: SocketAddr) -> std::io::Result<TcpStream> {
    net.enter(|| {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    })
    .expect("the namespace")
}

/// What a ztunnel does to reach the application: the client's address for its own, marked.
pub(crate) fn connect_as(
    net: &Netns,
    from: SocketAddr,
    to: SocketAddr,
    mark: u32,
) -> std::io::Result<Socket> {
    dial(net, from, to, mark, PATIENCE)
}

/// [`connect_as`] with a deadline.
pub(crate) fn dial(
    net: &Netns,
    from: SocketAddr,
    to: SocketAddr,
    mark: u32,
    deadline: Duration,
) -> std::io::Result<Socket> {
    net.enter(|| {
        let socket = socket(to, Type::STREAM);
        socket.set_mark(mark)?;
        transparent(&socket, to)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), deadline)?;
        Ok(socket)
    })
    .expect("the namespace")
}

/// A marked UDP socket that may have any address.
pub(crate) fn transparent_udp(net: &Netns, address: SocketAddr, mark: u32) -> Result<Socket> {
    net.enter(|| {
        let socket = socket(address, Type::DGRAM);
        socket.set_mark(mark).unwrap();
        transparent(&socket, address).unwrap();
        socket.bind(&address.into()).expect("bind");
        socket
    })
}

fn transparent(socket: &Socket, address: SocketAddr) -> std::io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Bytes pass in both directions.
pub(crate) fn talk(
    mut one: impl std::io::Read + std::io::Write,
    mut other: impl std::io::Read + std::io::Write,
) {
    for text in [b"first", b"again"] {
        one.write_all(text).expect("write");
        let mut read = [0; 5];
        other.read_exact(&mut read).expect("read");
        assert_eq!(&read, text);
        other.write_all(text).expect("write back");
        one.read_exact(&mut read).expect("read back");
        assert_eq!(&read, text);
    }
}

/// Nobody is waiting to be accepted.
pub(crate) fn nobody(listener: &Socket) -> bool {
    listener.set_read_timeout(Some(SILENCE)).unwrap();
    let nobody = listener.accept().is_err();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    nobody
}

/// A plain listener of the standard library, where that is enough.
pub(crate) fn serve(net: &Netns, address: SocketAddr) -> Result<TcpListener> {
    Ok(net.enter(|| TcpListener::bind(address))??)
}
