//! The kubelet's probes: what root of the node opens to a probed port reaches the application, and nothing
//! else does: other ports, what came through a Service, what is forwarded, what forges the address.

mod bench;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use bench::{Bench, SILENCE, accept, connect, dial, listen, nobody, talk};
use culvert_agent::capture::backend::Kind;
use culvert_agent::capture::plan::Step;
use culvert_agent::capture::probes::Probes;
use culvert_agent::capture::rules::Family;
use culvert_agent::pod::Pod;
use culvert_lab::{Lab, Netns};

const PROBED: u16 = 8080;
const OTHER: u16 = 8081;

/// A captured pod of node n1 whose port [`PROBED`] is probed, with the node's rules in force.
struct Probed<'a> {
    bench: Bench,
    node: &'a Netns,
    told: Pod,
    probes: Probes,
}

impl Probed<'_> {
    fn audit(&self) -> Result<Vec<String>> {
        Ok(self.node.enter(|| self.probes.audit())??)
    }

    /// A probe gets through, and comes from the address that is for probes.
    fn passes(&self) -> Result<()> {
        for ip in self.told.addresses.iter().copied() {
            let to = SocketAddr::new(ip, PROBED);
            let app = listen(&self.bench.pod.net, to)?;
            let probe = connect(self.node, to)?;
            let (taken, from) = accept(&app);
            let source = Family::of(ip).probe_source().parse::<IpAddr>()?;
            assert_eq!(from.ip(), source, "{to}");
            talk(&probe, &taken);
        }
        Ok(())
    }

    /// Whether the node reaches `to` in the clear.
    fn reaches(&self, to: SocketAddr) -> bool {
        connect(self.node, to).is_ok()
    }

    fn rules(&self) -> Result<String> {
        let variant = self.bench.variant();
        self.node.script(&format!(
            "for t in raw nat filter; do
                 iptables{variant} -t $t -S; ip6tables{variant} -t $t -S
             done | grep -i culvert || true
             nft list table inet culvert-node 2>/dev/null || true"
        ))
    }
}

fn each_backend(name: &str, body: impl Fn(&Lab, &Probed<'_>) -> Result<()>) {
    culvert_lab::test(name, |lab| {
        for kind in [Kind::IptablesNft, Kind::IptablesLegacy, Kind::Nftables] {
            let mut bench = Bench::with(lab, kind)?;
            bench.spec.options.probe_ports = [PROBED].into();
            let mut told = bench.told.clone();
            told.options = bench.spec.options.clone();
            let uid = nix::unistd::geteuid().as_raw();
            let probes = Probes::new(&bench.tools, uid, std::iter::empty());
            let node = &lab.node("n1")?.net;
            node.enter(|| probes.set(&told))??;
            bench.ensure();
            let probed = Probed {
                bench,
                node,
                told,
                probes,
            };
            body(lab, &probed)?;
            node.enter(|| probed.probes.clear())??;
            assert_eq!(probed.rules()?, "", "left by {kind:?}");
            lab.remove_pod(&probed.bench.pod)?;
            lab.remove_pod(&probed.bench.client)?;
        }
        Ok(())
    });
}

#[test]
fn probes_pass_and_other_connections_of_the_node_do_not() {
    let name = "probes_pass_and_other_connections_of_the_node_do_not";
    each_backend(name, |lab, probed| {
        probed.passes()?;
        let bench = &probed.bench;
        for ip in bench.pod.ips() {
            let app = listen(&bench.pod.net, SocketAddr::new(ip, OTHER))?;
            assert!(!probed.reaches(SocketAddr::new(ip, OTHER)), "{ip}");
            let probed_app = listen(&bench.pod.net, SocketAddr::new(ip, PROBED))?;
            // Neighbours, the other node: forwarded here, so not this node's own.
            for net in [&bench.client.net, &lab.node("n2")?.net] {
                let to = SocketAddr::new(ip, PROBED);
                let refused = dial(net, unspecified(ip), to, 0, SILENCE);
                assert!(refused.is_err(), "{to} was reached");
            }
            assert!(nobody(&app) && nobody(&probed_app));
        }
        Ok(())
    });
}

/// kube-proxy sends what comes to a NodePort, or from the node to a Service, to the pod from an address of
/// the node. Its rules may stand before ours or behind them.
#[test]
fn what_comes_through_a_service_is_no_probe() {
    let name = "what_comes_through_a_service_is_no_probe";
    each_backend(name, |_, probed| {
        let bench = &probed.bench;
        let (pod, client) = (bench.pod.ip(), bench.client.ip());
        let service: SocketAddr = "10.96.7.7:80".parse()?;
        let route = format!("ip route replace {} via {client}", service.ip());
        probed.node.script(&route)?;
        for priority in ["srcnat - 50", "srcnat + 50"] {
            probed.node.script(&format!(
                "nft '
                 table ip theirs {{
                     chain pre {{ type nat hook prerouting priority dstnat;
                         ip daddr {0} tcp dport 80 meta mark set 0x4000 dnat to {pod}:{PROBED}
                     }}
                     chain out {{ type nat hook output priority -100;
                         ip daddr {0} tcp dport 80 meta mark set 0x4000 dnat to {pod}:{PROBED}
                     }}
                     chain post {{ type nat hook postrouting priority {priority};
                         meta mark 0x4000 masquerade
                     }}
                 }}'",
                service.ip()
            ))?;
            let app = listen(&bench.pod.net, SocketAddr::new(pod, PROBED))?;
            let to_service =
                |net, from: IpAddr| dial(net, SocketAddr::new(from, 0), service, 0, SILENCE);
            assert!(to_service(&bench.client.net, client).is_err(), "NodePort");
            assert!(!probed.reaches(service), "ClusterIP from the node");
            assert!(nobody(&app));
            // It is capture that refuses them.
            bench.remove(Step::Redirection);
            let direct = to_service(&bench.client.net, client)?;
            let (served, from) = accept(&app);
            assert_ne!(from.ip(), client, "not masqueraded");
            talk(&direct, &served);
            assert!(probed.reaches(service));
            drop(app);
            bench.ensure();
            probed.passes()?;
            probed.node.script("nft delete table ip theirs")?;
        }
        Ok(())
    });
}

#[test]
fn the_address_of_probes_cannot_be_forged() {
    let name = "the_address_of_probes_cannot_be_forged";
    each_backend(name, |_, probed| {
        let bench = &probed.bench;
        for ip in bench.pod.ips() {
            let source: IpAddr = Family::of(ip).probe_source().parse()?;
            let add = format!("ip addr add {source} dev lo");
            bench.client.net.script(&add)?;
            let app = listen(&bench.pod.net, SocketAddr::new(ip, PROBED))?;
            let from = SocketAddr::new(source, 0);
            let to = SocketAddr::new(ip, PROBED);
            let forged = dial(&bench.client.net, from, to, 0, SILENCE);
            assert!(forged.is_err(), "{to} was reached from {source}");
            assert!(nobody(&app));
        }
        probed.passes()
    });
}

#[test]
fn the_nodes_rules_are_repaired_and_follow_the_pods() {
    let name = "the_nodes_rules_are_repaired_and_follow_the_pods";
    each_backend(name, |_, probed| {
        assert_eq!(probed.audit()?, Vec::<String>::new());
        let meant = probed.rules()?;
        let variant = probed.bench.variant();
        let breaks: &[String] = &match probed.bench.tools.name() {
            "nftables" => vec![
                "nft delete table inet culvert-node".to_owned(),
                "nft flush chain inet culvert-node spoofed".to_owned(),
                "nft flush chain inet culvert-node probes".to_owned(),
            ],
            _ => vec![
                format!("iptables{variant} -t nat -F CULVERT_POSTROUTING"),
                format!("ip6tables{variant} -t raw -F PREROUTING"),
                format!("iptables{variant} -t nat -D POSTROUTING 1"),
            ],
        };
        for change in breaks {
            probed.node.script(change)?;
            assert!(!probed.audit()?.is_empty(), "{change}: not noticed");
            assert_eq!(probed.rules()?, meant, "{change}: not undone");
            probed.passes()?;
        }
        // Another's rule before ours is no drift: kube-proxy puts its own first when it starts.
        let first = |action| {
            format!(
                "iptables{variant} -t nat -{action} POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE"
            )
        };
        probed.node.script(&first("I"))?;
        assert_eq!(probed.audit()?, Vec::<String>::new());
        probed.passes()?;
        probed.node.script(&first("D"))?;

        // An agent that starts anew knows its pods by their records, and one without pods cleans up.
        let uid = nix::unistd::geteuid().as_raw();
        let next = Probes::new(&probed.bench.tools, uid, [&probed.told].into_iter());
        probed.node.enter(|| next.audit())??;
        assert_eq!(probed.rules()?, meant);
        probed.node.enter(|| next.forget(&probed.told.uid))??;
        assert_eq!(probed.rules()?, "");
        let last = Probes::new(&probed.bench.tools, uid, std::iter::empty());
        probed.node.enter(|| probed.probes.clear())??;
        probed.node.enter(|| probed.probes.set(&probed.told))??;
        assert_eq!(probed.rules()?, meant);
        probed.node.enter(|| last.audit())??;
        assert_eq!(probed.rules()?, "");
        Ok(())
    });
}

fn unspecified(ip: IpAddr) -> SocketAddr {
    let any = match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}
