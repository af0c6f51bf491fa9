//! What the checks play on: pods and their servers on two nodes, the capture between them, the mesh.

use crate::demo::{
    capture::{Capture, Mark},
    client,
    servers::{Answer, Server},
};
use anyhow::{Context, Result, ensure};
use culvert_lab::{
    Lab, Mesh, MeshOptions, Netns, Pod,
    objects::{self, AMBIENT, Pair, Port},
    packet::Packet,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{fs, net::IpAddr, time::Duration};

/// How soon a change of configuration must be in effect.
pub(crate) const EFFECT: Duration = Duration::from_secs(10);
/// The namespace that joins the mesh.
pub(crate) const NAMESPACE: &str = "demo";

/// The pods of the demo.
#[derive(Debug)]
pub(crate) struct Pods {
    pub(crate) client: Pod,
    pub(crate) guest: Pod,
    pub(crate) web_v1: Pod,
    pub(crate) web_v2: Pod,
    pub(crate) redis: Pod,
    pub(crate) unreliable: Pod,
    pub(crate) waypoint: Pod,
    /// Never in the mesh.
    pub(crate) outsider: Pod,
}

impl Pods {
    /// Those that are in the namespace that is labelled.
    pub(crate) fn enrolled(&self) -> [&Pod; 6] {
        [
            &self.client,
            &self.guest,
            &self.web_v1,
            &self.web_v2,
            &self.redis,
            &self.unreliable,
        ]
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.enrolled().iter().flat_map(|pod| pod.ips()).collect()
    }
}

/// The servers of the demo.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) web_v1: Server,
    pub(crate) web_v2: Server,
    pub(crate) redis: Server,
    pub(crate) unreliable: Server,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Stage<'lab> {
    pub(crate) mesh: Mesh<'lab>,
    pub(crate) capture: Capture,
    pub(crate) pods: Pods,
    pub(crate) servers: Servers,
    /// Random bytes of this run.
    pub(crate) marker: String,
    /// The check that is to be broken.
    pub(crate) sabotage: Option<u8>,
    /// Rules of the pods before they ever joined.
    pub(crate) rules_before: Vec<String>,
}

impl<'lab> Stage<'lab> {
    /// Builds everything; the namespace is not labelled yet.
    pub(crate) fn set(lab: &'lab Lab, sabotage: Option<u8>) -> Result<Self> {
        let pod = |node: &str, name: &str| lab.pod(node, NAMESPACE, name, name);
        let pods = Pods {
            client: pod("n1", "client")?,
            guest: pod("n1", "guest")?,
            web_v1: pod("n2", "web-v1")?,
            web_v2: pod("n2", "web-v2")?,
            redis: pod("n2", "redis")?,
            unreliable: pod("n2", "unreliable")?,
            waypoint: pod("n2", "waypoint")?,
            outsider: lab.pod("n1", "outside", "outsider", "outsider")?,
        };
        let capture = Capture::start(
            lab.node("n1")?,
            lab.dir(),
            pods.outsider.clone(),
            pods.waypoint.clone(),
        )?;
        let servers = Servers {
            web_v1: Server::nginx(lab, &pods.web_v1, Answer::Text("v1"))?,
            web_v2: Server::nginx(lab, &pods.web_v2, Answer::Text("v2"))?,
            redis: Server::redis(lab, &pods.redis)?,
            unreliable: Server::nginx(lab, &pods.unreliable, Answer::Unreliable)?,
        };
        let rules_before = pods
            .enrolled()
            .iter()
            .map(|pod| pod.net.rules())
            .collect::<Result<_>>()?;
        let mesh = Mesh::new(lab, MeshOptions::default())?;
        let marker = random_marker()?;
        let mut stage = Self {
            mesh,
            capture,
            pods,
            servers,
            marker,
            sabotage,
            rules_before,
        };
        stage.write_objects()?;
        stage.mesh.start_all()?;
        stage.mesh.start_waypoint(&stage.pods.waypoint.clone())?;
        Ok(stage)
    }

    fn write_objects(&self) -> Result<()> {
        self.mesh.put_namespace(NAMESPACE, &[])?;
        self.mesh.put_namespace("outside", &[])?;
        for pod in self
            .pods
            .enrolled()
            .into_iter()
            .chain([&self.pods.outsider])
        {
            self.mesh.put_pod(pod, &[], &[])?;
        }
        for (name, port) in [
            ("web-v1", 80),
            ("web-v2", 80),
            ("redis", 6379),
            ("unreliable", 80),
            ("shop", 80),
        ] {
            self.put_service(name, Port::same(port), &[])?;
        }
        Ok(())
    }

    /// Writes one of the demo's services. `shop` has the pods of `web-v1` behind it until a route says otherwise.
    pub(crate) fn put_service(
        &self,
        name: &str,
        port: Port<'_>,
        labels: &[Pair<'_>],
    ) -> Result<()> {
        let (number, app) = match name {
            "web-v1" => (11, "web-v1"),
            "web-v2" => (12, "web-v2"),
            "redis" => (13, "redis"),
            "unreliable" => (14, "unreliable"),
            _ => (15, "web-v1"),
        };
        let vips = [
            format!("10.96.0.{number}").parse()?,
            format!("fd10:96::{number}").parse()?,
        ];
        self.mesh.put(
            &format!("service-{name}"),
            &objects::service(NAMESPACE, name, app, &vips, &[port], labels),
        )
    }

    /// Whether this check is the one to break.
    pub(crate) fn sabotaged(&self, check: u8) -> bool {
        self.sabotage == Some(check)
    }

    /// The header that carries the marker.
    pub(crate) fn marker_header(&self) -> String {
        format!("x-marker: {}", self.marker)
    }

    /// The packets since `mark` among pods of the labelled namespace.
    pub(crate) fn packets_since(&mut self, mark: Mark) -> Result<Vec<Packet>> {
        let addresses = self.pods.addresses();
        let packets = self.capture.since(mark)?;
        Ok(packets
            .into_iter()
            .filter(|packet| packet.is_between(&addresses))
            .collect())
    }

    /// Labels the namespace and waits until its pods are captured and both nodes know them as HBONE.
    pub(crate) fn enrol(&self) -> Result<()> {
        self.mesh.put_namespace(NAMESPACE, &[AMBIENT])?;
        for pod in self.pods.enrolled() {
            self.mesh.wait_captured(pod)?;
        }
        for node in ["n1", "n2"] {
            let what = "every pod of the namespace to take HBONE";
            self.mesh.wait_ztunnel_state(node, what, |dump| {
                self.pods
                    .enrolled()
                    .iter()
                    .all(|pod| tunnel(dump, pod) == Some("HBONE"))
            })?;
        }
        Ok(())
    }

    /// Takes the label away and waits until its pods are as if there were no mesh.
    pub(crate) fn release(&self) -> Result<()> {
        self.mesh.put_namespace(NAMESPACE, &[])?;
        self.pods
            .enrolled()
            .into_iter()
            .try_for_each(|pod| self.mesh.wait_released(pod))
    }

    /// Fails if a server of the demo was restarted.
    pub(crate) fn check_same_processes(&self) -> Result<()> {
        let Servers {
            web_v1,
            web_v2,
            redis,
            unreliable,
        } = &self.servers;
        [web_v1, web_v2, redis, unreliable]
            .into_iter()
            .try_for_each(Server::check_same_process)
    }

    /// Writes an object, does something, and removes the object again whatever came of it.
    pub(crate) fn with_object<T>(
        &mut self,
        name: &str,
        yaml: &str,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.mesh.put(name, yaml)?;
        let outcome = body(self);
        self.mesh.remove(name)?;
        outcome
    }

    /// Waits until a request succeeds, or until it gets no answer.
    pub(crate) fn wait_answer(&self, from: &Pod, url: &str, answered: bool) -> Result<()> {
        let what = format!(
            "{url} {} {}",
            if answered { "to answer" } else { "to refuse" },
            from.name
        );
        wait::until(what, EFFECT, || {
            let replies = client::get(from, url, &[])?;
            let replies = if answered {
                replies.all_ok()
            } else {
                replies.none_answered()
            };
            replies.map(|_| Some(()))
        })
    }

    /// For sabotage: takes the rules out of a pod while its node's agent can't put them back.
    pub(crate) fn strip_rules(&mut self, pod: &Pod) -> Result<()> {
        self.mesh.agent(&pod.node)?.signal(Signal::SIGSTOP)?;
        flush_rules(&pod.net)?;
        ensure!(
            !culvert_lab::mesh::captured(pod)?,
            "the rules of {} are still there",
            pod.name
        );
        Ok(())
    }

    /// Undoes [`Self::strip_rules`]: the agent finds the rules gone and repairs them.
    pub(crate) fn let_agent_repair(&mut self, pod: &Pod) -> Result<()> {
        self.mesh.agent(&pod.node)?.signal(Signal::SIGCONT)?;
        self.mesh.wait_captured(pod)
    }
}

fn flush_rules(net: &Netns) -> Result<()> {
    net.script("for f in iptables ip6tables; do for t in raw mangle nat filter; do $f -t $t -F; done; done")?;
    Ok(())
}

/// How a ztunnel's dump says that a pod is reached.
fn tunnel<'a>(dump: &'a Value, pod: &Pod) -> Option<&'a str> {
    let workloads = dump.get("workloads")?.as_array()?;
    let this = |workload: &&Value| {
        workload["name"].as_str() == Some(&pod.name)
            && workload["namespace"].as_str() == Some(&pod.namespace)
    };
    workloads.iter().find(this)?.get("tunnel")?.as_str()
}

fn random_marker() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("random bytes")?;
    Ok(format!("marker-{}", uuid.trim()))
}
