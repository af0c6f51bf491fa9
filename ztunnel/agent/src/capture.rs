//! Capture of one network namespace: what must be true of it, putting rules and routes in force,
//! reading back what is there, taking it away.
//!
//! Invariants: everything here is synchronous and level-triggered, so that it may be interrupted after
//! any step and called again; nothing that is not ours is changed; success is only ever what was read back.

pub mod backend;
pub mod command;
pub mod connections;
pub mod iptables;
pub mod nftables;
pub mod node;
pub mod plaintext;
pub mod plan;
pub mod probes;
pub mod rules;
pub mod saved;
pub mod tools;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use culvert_runtime::netns::{Netns, NetnsId};

use crate::netlink::changes::Subscription;
use crate::netlink::{conntrack, diag, nft, route};
use crate::place::Place;
use crate::pod::Pod;
use backend::Backend;
use command::ToolError;
use connections::Connection;
use plaintext::Doomed;
use plan::Step;
use rules::{Family, Rules as _, Spec};
use tools::Tools;

/// Why a namespace is not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is nothing at the path.
    #[error("network namespace {} does not exist", .0.display())]
    Vanished(PathBuf),
    /// What is at the path cannot be used.
    #[error("network namespace {0}")]
    Netns(io::Error),
    /// The namespace is the agent's own.
    #[error("network namespace {} is the node's own", .0.display())]
    Node(PathBuf),
    /// The namespace is another pod's.
    #[error("network namespace {} belongs to pod {owner}", path.display())]
    Shared {
        /// Of the namespace.
        path: PathBuf,
        /// The other pod.
        owner: String,
    },
    /// The namespace does not hold the pod's address.
    #[error("network namespace {} does not hold the pod's address {address}", path.display())]
    Address {
        /// Of the namespace.
        path: PathBuf,
        /// Which it should hold.
        address: IpAddr,
    },
    /// IPv6 would go around the mesh.
    #[error("the pod has the address {0}, but IPv6 cannot be captured on this node")]
    Ipv6(IpAddr),
    /// The backend.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A netlink request or a file of the kernel.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The rules were written, but are not there.
    #[error("the rules are not in force: {0}")]
    NotInForce(String),
}

/// A pod's namespace, checked to be the pod's.
#[derive(Debug)]
pub struct Site {
    netns: Netns,
    addresses: Vec<IpAddr>,
}

/// What [`Site::ensure`] found and did.
#[derive(Debug, Default)]
pub struct Ensured {
    /// What was not as meant; it is now.
    pub drift: Vec<String>,
    /// nftables' number of the rule set that was read back.
    pub ruleset: Option<u32>,
}

impl Site {
    /// Open the namespace at `place` without looking into it.
    pub fn open(place: &Place) -> Result<Self, CaptureError> {
        let netns = place.open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CaptureError::Vanished(place.name()),
            _ => CaptureError::Netns(error),
        })?;
        let home = Netns::current().map_err(CaptureError::Netns)?;
        if home.id() == netns.id() {
            return Err(CaptureError::Node(place.name()));
        }
        let addresses = Vec::new();
        Ok(Self { netns, addresses })
    }

    /// Open the namespace of `pod` and check that it is the pod's and that all of it can be captured.
    pub fn of(pod: &Pod, tools: &Tools) -> Result<Self, CaptureError> {
        let mut site = Self::open(&pod.netns)?;
        site.addresses = site
            .inside(addresses)?
            .map_err(kernel("reading addresses"))?;
        check(pod, &site.addresses, tools.ipv6())?;
        Ok(site)
    }

    /// What names the namespace while it exists.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.netns.id()
    }

    /// Connections with the outside that are open now.
    pub fn connections(&self) -> Result<Vec<Connection>, CaptureError> {
        let open = || connections::open(&self.addresses);
        self.inside(open)?
            .map_err(kernel("reading open connections"))
    }

    /// How many connections with the pod's applications ztunnel carries now. Their answers leave the pod
    /// in the clear without the rules of [`Step::Rest`].
    /// With nftables neither do those that it carries from them: with our table their translation goes.
    pub fn carried(&self, tools: &Tools) -> Result<usize, CaptureError> {
        let carried = || {
            let redirected = match tools.backend() {
                Backend::Iptables(_) => 0,
                Backend::Nftables(_) => connections::redirected()?,
            };
            Ok(connections::carried(&addresses()?)? + redirected)
        };
        self.inside(carried)?
            .map_err(kernel("reading open connections"))
    }

    /// End the connections that ztunnel carries from and to the pod's applications, which see a reset; how many.
    pub fn end_carried(&self) -> Result<usize, CaptureError> {
        let end = || {
            let own = addresses()?;
            diag::destroy(|connection| connections::is_ztunnels(connection, &own))
        };
        self.inside(end)?
            .map_err(kernel("ending connections through ztunnel"))
    }

    /// End connections that bring plaintext around the mesh to where none is taken; how many.
    pub fn end_plaintext(&self, doomed: &Doomed) -> Result<usize, CaptureError> {
        let end = || plaintext::end(doomed, &self.addresses);
        self.inside(end)?
            .map_err(kernel("ending plaintext connections"))
    }

    /// Subscribe to changes of the namespace's rules and routes.
    pub fn changes(&self) -> Result<Subscription, CaptureError> {
        self.inside(Subscription::open)?
            .map_err(kernel("subscribing to changes of rules"))
    }

    /// Let `connections` go on around the mesh when the rules come.
    pub fn exempt(&self, connections: &[Connection]) -> Result<(), CaptureError> {
        let insert = || conntrack::insert(connections);
        self.inside(insert)?
            .map_err(kernel("entering open connections into conntrack"))
    }

    /// Make the namespace hold the routes and rules of `spec`, and read them back. `verified` is the
    /// [`Ensured::ruleset`] of the last time: with it, unchanged rules need not be read again.
    pub fn ensure(
        &self,
        tools: &Tools,
        spec: &Spec,
        verified: Option<u32>,
    ) -> Result<Ensured, CaptureError> {
        self.inside(|| {
            let mut ensured = Ensured::default();
            let families = tools.families();
            for &family in &families {
                ensured.drift.extend(ensure_routes(family)?);
            }
            ensured.ruleset = ruleset(tools);
            let unchanged = ensured.ruleset.is_some() && ensured.ruleset == verified;
            if !unchanged {
                let drift = tools.backend().ensure(spec, &families)?;
                ensured.drift.extend(drift);
            }
            if !ensured.drift.is_empty() {
                ensured.ruleset = ruleset(tools);
                audit(tools, spec, &families)?;
            }
            if verified.is_none() {
                let former = tools.supersede(spec.table(), &families)?;
                if !former.is_empty() {
                    ensured.ruleset = ruleset(tools);
                    audit(tools, spec, &families)?;
                }
                ensured.drift.extend(former);
            }
            Ok(ensured)
        })?
    }

    /// Take one step of capture away.
    pub fn remove(&self, tools: &Tools, step: Step) -> Result<(), CaptureError> {
        self.inside(|| {
            let families = tools.families();
            tools.remove(rules::nft::TABLE, step, &families)?;
            if step == Step::Rest {
                for family in families {
                    route::remove(family).map_err(kernel("removing routes"))?;
                }
            }
            Ok(())
        })?
    }

    fn inside<T>(&self, f: impl FnOnce() -> T) -> Result<T, CaptureError> {
        self.netns.run(f).map_err(CaptureError::Netns)
    }
}

/// Whether a namespace with the addresses `held` is the pod's, and all of them can be captured.
fn check(pod: &Pod, held: &[IpAddr], ipv6: bool) -> Result<(), CaptureError> {
    if let Some(&address) = pod.addresses.iter().find(|ip| !held.contains(ip)) {
        let path = pod.netns.name();
        return Err(CaptureError::Address { path, address });
    }
    // A link-local address reaches every neighbour.
    let uncaptured = |ip: &&IpAddr| ip.is_ipv6() && !ip.is_loopback() && !ipv6;
    match held.iter().find(uncaptured) {
        Some(&ip) => Err(CaptureError::Ipv6(ip)),
        None => Ok(()),
    }
}

/// Read back everything once more; anything that differs is an error.
fn audit(tools: &Tools, spec: &Spec, families: &[Family]) -> Result<(), CaptureError> {
    let mut drift = tools.backend().drift(spec, families)?;
    for &family in families {
        drift.extend(missing_routes(family)?);
    }
    if drift.is_empty() {
        return Ok(());
    }
    Err(CaptureError::NotInForce(drift.join(", ")))
}

fn ensure_routes(family: Family) -> Result<Vec<String>, CaptureError> {
    let missing = missing_routes(family)?;
    if !missing.is_empty() {
        route::add(family).map_err(kernel("adding routes"))?;
    }
    Ok(missing)
}

fn missing_routes(family: Family) -> Result<Vec<String>, CaptureError> {
    if family == Family::V6 && !loopback_has_ipv6() {
        // Nothing can be delivered to a loopback without IPv6, nor leak from there.
        return Ok(Vec::new());
    }
    let present = route::present(family).map_err(kernel("reading routes"))?;
    let mut missing = Vec::new();
    if !present.rule {
        missing.push(format!("{family}: no rule for marked packets"));
    }
    if !present.route {
        missing.push(format!(
            "{family}: no local route in table {}",
            route::TABLE
        ));
    }
    Ok(missing)
}

fn loopback_has_ipv6() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    disabled.map_or(true, |value| value.trim() == "0")
}

fn ruleset(tools: &Tools) -> Option<u32> {
    // Without the number the rules are read every time.
    let numbered = tools.backend().is_numbered();
    numbered.then(|| nft::ruleset_number().ok()).flatten()
}

/// The addresses of the calling thread's namespace.
pub(crate) fn addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    Ok(interfaces.filter_map(|each| ip(each.address?)).collect())
}

fn kernel(what: &'static str) -> impl Fn(io::Error) -> CaptureError {
    move |source| CaptureError::Kernel { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_must_hold_the_pods_addresses_and_nothing_that_cannot_be_captured() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let pod = |addresses: &[&str]| Pod {
            uid: "a".into(),
            name: "a".into(),
            namespace: "ns".into(),
            service_account: "default".into(),
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            netns: "/run/netns/a".into(),
            enrolled: true,
            options: crate::pod::CaptureOptions::default(),
            strict: None,
        };
        let v4 = [ip("127.0.0.1"), ip("::1"), ip("10.0.0.5")];
        assert!(check(&pod(&["10.0.0.5"]), &v4, false).is_ok());
        let error = check(&pod(&["10.0.0.5", "10.0.0.6"]), &v4, true).unwrap_err();
        assert!(error.to_string().contains("10.0.0.6"), "{error}");
        let both = [ip("10.0.0.5"), ip("fe80::1")];
        assert!(check(&pod(&["10.0.0.5"]), &both, true).is_ok());
        let error = check(&pod(&["10.0.0.5"]), &both, false).unwrap_err();
        assert!(error.to_string().contains("fe80::1"), "{error}");
    }
}
