//! A mesh over a laboratory: its configuration directory and the processes that make it up.
//!
//! Invariant: what a `start_` or `wait_` method promises is true when it returns; all of them wait for conditions.

use crate::{
    Lab, Node, Pod, Process, http, objects, process, programs,
    wait::{self, PATIENCE},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Where the controller listens on its node, `n1`.
pub const CONTROLLER_PORT: u16 = 15012;
const READY_PORT: u16 = 15021;
/// What a captured pod listens on: outbound, inbound plaintext, HBONE.
const CAPTURE_PORTS: [u16; 3] = [15001, 15006, 15008];

/// What the names of the agent's chains begin with.
const CHAINS: &str = "CULVERT_";

/// What of a mesh may differ from test to test.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// Lifetime of workload certificates.
    pub certificate_ttl: String,
    /// How bytes go between two pods of one node.
    pub same_node: String,
    /// Arguments for the controller besides the usual ones.
    pub controller_args: Vec<String>,
    /// The same for agents.
    pub agent_args: Vec<String>,
    /// The same for ztunnels.
    pub ztunnel_args: Vec<String>,
    /// The same for waypoints.
    pub waypoint_args: Vec<String>,
    /// What all processes log.
    pub log: String,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            certificate_ttl: "24h".into(),
            same_node: "Hbone".into(),
            controller_args: Vec::new(),
            agent_args: Vec::new(),
            ztunnel_args: Vec::new(),
            waypoint_args: Vec::new(),
            log: "info".into(),
        }
    }
}

/// A mesh's processes and configuration.
#[derive(Debug)]
pub struct Mesh<'lab> {
    lab: &'lab Lab,
    options: MeshOptions,
    config: PathBuf,
    controller: Option<Process>,
    agents: BTreeMap<String, Process>,
    ztunnels: BTreeMap<String, Process>,
    waypoints: BTreeMap<String, Process>,
    /// Files of the tokens that were issued, by what they are for.
    tokens: Mutex<BTreeMap<String, PathBuf>>,
}

impl<'lab> Mesh<'lab> {
    /// A configuration directory with the MeshConfig and both Nodes; nothing runs yet.
    pub fn new(lab: &'lab Lab, options: MeshOptions) -> Result<Self> {
        programs::require(&[programs::IPTABLES])?;
        let mesh = Self {
            lab,
            config: lab.subdir("config")?,
            controller: None,
            agents: BTreeMap::new(),
            ztunnels: BTreeMap::new(),
            waypoints: BTreeMap::new(),
            tokens: Mutex::default(),
            options,
        };
        mesh.put_config(&mesh.options.same_node)?;
        for node in lab.nodes() {
            mesh.put(
                node.name(),
                &objects::node(node.name(), node.address(lab.family())),
            )?;
        }
        Ok(mesh)
    }

    /// A mesh whose controller, agents and ztunnels run and are ready.
    pub fn start(lab: &'lab Lab, options: MeshOptions) -> Result<Self> {
        let mut mesh = Self::new(lab, options)?;
        mesh.start_all()?;
        Ok(mesh)
    }

    /// Starts the controller, both agents and both ztunnels, and waits until they are ready.
    pub fn start_all(&mut self) -> Result<()> {
        self.start_controller()?;
        for node in self.lab.nodes() {
            self.start_agent(node.name())?;
            self.start_ztunnel(node.name())?;
        }
        self.lab
            .nodes()
            .iter()
            .try_for_each(|node| self.wait_ztunnel_ready(node.name()))
    }

    /// The directory of the objects' YAML.
    pub fn config_dir(&self) -> &Path {
        &self.config
    }

    /// Writes (or replaces, atomically) the file `NAME.yaml`.
    pub fn put(&self, name: &str, yaml: &str) -> Result<()> {
        let temporary = self.config.join(format!(".{name}.new"));
        fs::write(&temporary, yaml)?;
        fs::rename(&temporary, self.config.join(format!("{name}.yaml")))
            .with_context(|| name.to_owned())
    }

    /// Removes the file `NAME.yaml`.
    pub fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.config.join(format!("{name}.yaml"))).with_context(|| name.to_owned())
    }

    /// Writes the MeshConfig, with this way between two pods of one node.
    pub fn put_config(&self, same_node: &str) -> Result<()> {
        let ttl = &self.options.certificate_ttl;
        self.put("mesh", &objects::mesh_config(ttl, same_node))
    }

    /// Writes a Namespace.
    pub fn put_namespace(&self, name: &str, labels: &[objects::Pair<'_>]) -> Result<()> {
        self.put(
            &format!("namespace-{name}"),
            &objects::namespace(name, labels),
        )
    }

    /// Writes a Pod.
    pub fn put_pod(
        &self,
        pod: &Pod,
        labels: &[objects::Pair<'_>],
        annotations: &[objects::Pair<'_>],
    ) -> Result<()> {
        self.put(
            &format!("pod-{}-{}", pod.namespace, pod.name),
            &objects::pod(pod, labels, annotations),
        )
    }

    /// What the controller wrote about the mesh's state.
    pub fn status(&self) -> Result<Value> {
        let path = self.config.join(".status/status.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Starts the controller and waits until it serves.
    pub fn start_controller(&mut self) -> Result<()> {
        let mut argv = vec![programs::own("culvert-controller")?.display().to_string()];
        argv.extend(["--config".into(), self.config.display().to_string()]);
        argv.extend(["--listen".into(), self.controller_address()?.to_string()]);
        argv.extend(self.options.controller_args.iter().cloned());
        let node = self.lab.node("n1")?;
        let mut process = self.spawn(node, "controller", argv)?;
        node.net.wait_for_server(&mut process, CONTROLLER_PORT)?;
        self.controller = Some(process);
        Ok(())
    }

    /// Starts (or starts again) a node's agent.
    pub fn start_agent(&mut self, node: &str) -> Result<()> {
        let argv = self.proxy_arguments(node, "culvert-agent", &self.options.agent_args)?;
        let process = self.spawn(self.lab.node(node)?, &format!("agent-{node}"), argv)?;
        self.agents.insert(node.into(), process);
        Ok(())
    }

    /// Starts (or starts again) a node's ztunnel; see [`Self::wait_ztunnel_ready`].
    pub fn start_ztunnel(&mut self, node: &str) -> Result<()> {
        let argv = self.proxy_arguments(node, "culvert-ztunnel", &self.options.ztunnel_args)?;
        let process = self.spawn(self.lab.node(node)?, &format!("ztunnel-{node}"), argv)?;
        self.ztunnels.insert(node.into(), process);
        Ok(())
    }

    /// Writes the Gateway of a waypoint that runs in `pod` under the pod's name, starts it and waits until it is ready.
    pub fn start_waypoint(&mut self, pod: &Pod) -> Result<()> {
        let text = objects::waypoint(&pod.namespace, &pod.name, pod.ip());
        self.start_gateway(pod, &text)
    }

    /// Writes `text`, the Gateway of any class that has the name of `pod`, starts its program there and waits until it is
    /// ready.
    pub fn start_gateway(&mut self, pod: &Pod, text: &str) -> Result<()> {
        self.put(&format!("waypoint-{}", pod.name), text)?;
        self.start_waypoint_instance(pod, &pod.key())
    }

    /// Starts an instance of the Gateway `NAMESPACE/NAME` in `pod` and waits until it is ready. The Gateway's objects, and
    /// the pod's, are the caller's to write.
    pub fn start_waypoint_instance(&mut self, pod: &Pod, name: &str) -> Result<()> {
        let token = self.token("waypoint", name)?;
        let run_dir = self.lab.subdir(&format!("waypoint-{}", pod.name))?;
        let mut argv = vec![programs::own("culvert-waypoint")?.display().to_string()];
        argv.extend(["--name".into(), name.to_owned()]);
        if name != pod.key() {
            argv.extend(["--pod".into(), pod.name.clone()]);
        }
        argv.extend(self.join_arguments(&token, &run_dir)?);
        argv.extend(self.options.waypoint_args.iter().cloned());
        argv.splice(0..0, self.environment());
        let mut process = pod.net.spawn(&format!("waypoint-{}", pod.name), &argv)?;
        pod.net.wait_for_server(&mut process, READY_PORT)?;
        self.waypoints.insert(pod.key(), process);
        let what = format!("readiness of waypoint {}", pod.key());
        wait::until(what, PATIENCE, || ready(&pod.net))
    }

    /// The running controller.
    pub fn controller(&mut self) -> Result<&mut Process> {
        self.controller.as_mut().context("no controller runs")
    }

    /// A node's running agent.
    pub fn agent(&mut self, node: &str) -> Result<&mut Process> {
        self.agents
            .get_mut(node)
            .with_context(|| format!("no agent runs on {node}"))
    }

    /// A node's running ztunnel.
    pub fn ztunnel(&mut self, node: &str) -> Result<&mut Process> {
        self.ztunnels
            .get_mut(node)
            .with_context(|| format!("no ztunnel runs on {node}"))
    }

    /// The running waypoint `NAMESPACE/NAME`.
    pub fn waypoint(&mut self, key: &str) -> Result<&mut Process> {
        self.waypoints
            .get_mut(key)
            .with_context(|| format!("no waypoint {key} runs"))
    }

    /// Waits until a node's ztunnel says that it is ready.
    pub fn wait_ztunnel_ready(&mut self, node: &str) -> Result<()> {
        let net = &self.lab.node(node)?.net;
        net.wait_for_server(self.ztunnel(node)?, READY_PORT)?;
        wait::until(format!("readiness of ztunnel {node}"), PATIENCE, || {
            ready(net)
        })
    }

    /// Waits until a pod is captured: ztunnel's sockets are in it and its rules lead there.
    pub fn wait_captured(&self, pod: &Pod) -> Result<()> {
        wait::until(format!("capture of {}", pod.key()), PATIENCE, || {
            Ok(captured(pod)?.then_some(()))
        })
    }

    /// Waits until a pod is as if there were no mesh.
    pub fn wait_released(&self, pod: &Pod) -> Result<()> {
        wait::until(format!("release of {}", pod.key()), PATIENCE, || {
            let listening = pod.net.listening()?;
            let free = !CAPTURE_PORTS.iter().any(|port| listening.contains(port));
            Ok((free && !pod.net.rules()?.contains(CHAINS)).then_some(()))
        })
    }

    /// Waits until a dump of a node's ztunnel (see [`Self::ztunnel_dump`]) is as `expected`.
    pub fn wait_ztunnel_state(
        &self,
        node: &str,
        what: &str,
        expected: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        wait::until(format!("ztunnel {node}: {what}"), PATIENCE, || {
            Ok(expected(&self.ztunnel_dump(node)?).then_some(()))
        })
    }

    /// A node's ztunnel's configuration dump.
    pub fn ztunnel_dump(&self, node: &str) -> Result<Value> {
        self.ztunnel_admin(node, "GET", "/config_dump")
    }

    /// A node's ztunnel's open connections.
    pub fn ztunnel_connections(&self, node: &str) -> Result<Value> {
        self.ztunnel_admin(node, "GET", "/connections")
    }

    /// The socket of a node's ztunnel's admin endpoint.
    pub fn ztunnel_admin_socket(&self, node: &str) -> PathBuf {
        self.run_dir(node).join("ztunnel-admin.sock")
    }

    fn ztunnel_admin(&self, node: &str, method: &str, path: &str) -> Result<Value> {
        let body = http::unix(&self.ztunnel_admin_socket(node), method, path)?.ok()?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Metrics of a node's ztunnel as Prometheus would read them.
    pub fn ztunnel_metrics(&self, node: &str) -> Result<String> {
        http::unix(&self.ztunnel_admin_socket(node), "GET", "/metrics")?.ok()
    }

    /// Where the controller listens.
    pub fn controller_address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(
            self.lab.node("n1")?.address(self.lab.family()),
            CONTROLLER_PORT,
        ))
    }

    /// A join token, in a file; issued once. KIND is `node` or `waypoint`.
    pub fn token(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let file = format!("{kind}-{}.token", name.replace('/', "-"));
        if let Some(path) = tokens.get(&file) {
            return Ok(path.clone());
        }
        let controller = programs::own("culvert-controller")?.display().to_string();
        let config = self.config.display().to_string();
        let token = process::run(&controller, &["token", "--config", &config, kind, name])?;
        let path = self.lab.dir().join(&file);
        // Whoever was started with one of an earlier mesh may be reading it.
        let new = path.with_extension("new");
        fs::write(&new, token.trim())?;
        fs::rename(&new, &path)?;
        tokens.insert(file, path.clone());
        Ok(path)
    }

    /// The directory of the sockets of a node's agent and ztunnel.
    pub fn run_dir(&self, node: &str) -> PathBuf {
        self.lab.dir().join(format!("run-{node}"))
    }

    fn proxy_arguments(&self, node: &str, program: &str, extra: &[String]) -> Result<Vec<String>> {
        let token = self.token("node", node)?;
        let run_dir = self.lab.subdir(&format!("run-{node}"))?;
        let mut argv = vec![programs::own(program)?.display().to_string()];
        argv.extend(["--node".into(), node.into()]);
        argv.extend(self.join_arguments(&token, &run_dir)?);
        argv.extend(extra.iter().cloned());
        Ok(argv)
    }

    fn join_arguments(&self, token: &Path, run_dir: &Path) -> Result<[String; 6]> {
        Ok([
            "--controller".into(),
            self.controller_address()?.to_string(),
            "--token-file".into(),
            token.display().to_string(),
            "--run-dir".into(),
            run_dir.display().to_string(),
        ])
    }

    fn environment(&self) -> [String; 2] {
        ["env".into(), format!("CULVERT_LOG={}", self.options.log)]
    }

    fn spawn(&self, node: &Node, name: &str, mut argv: Vec<String>) -> Result<Process> {
        argv.splice(0..0, self.environment());
        node.net.spawn(name, &argv)
    }
}

/// Whether a pod is captured, by looking at the pod: its sockets, and the rules of each family that it has.
pub fn captured(pod: &Pod) -> Result<bool> {
    let listening = pod.net.listening()?;
    if !CAPTURE_PORTS.iter().all(|port| listening.contains(port)) {
        return Ok(false);
    }
    let leads_there = |save: &str| pod.net.run(&[save]).map(|rules| rules.contains("15001"));
    Ok(leads_there("ip6tables-save")? && (pod.ip4.is_none() || leads_there("iptables-save")?))
}

fn ready(net: &crate::Netns) -> Result<Option<()>> {
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), READY_PORT);
    let response = http::tcp(net, address, "GET", "/healthz/ready")?;
    ensure!(
        response.status == 200,
        "not ready: {}",
        response.body.trim()
    );
    Ok(Some(()))
}
