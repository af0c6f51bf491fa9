//! A mesh with two enrolled pods and what the suites ask of it.

use crate::client;
use anyhow::{Context, Result, ensure};
use culvert_lab::{
    Lab, Mesh, MeshOptions, Pod, Process, leaks,
    objects::{self, AMBIENT, Port},
    programs, wait,
};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 virtual address of the service `server`.
pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// Its IPv6 one.
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd10, 0x96, 0, 0, 0, 0, 0, 10));

/// Ports of the server, one for each habit of `culvert-echo`.
pub mod port {
    /// Sends back what it gets.
    pub const ECHO: u16 = 7000;
    /// Speaks first: `220 NAME PEER`.
    pub const BANNER: u16 = 7001;
    /// Ends its own direction at once.
    pub const MUTE: u16 = 7002;
    /// Answers with count and SHA-256.
    pub const SINK: u16 = 7003;
    /// Sends as many bytes as a first line asks for.
    pub const SOURCE: u16 = 7004;
    /// A slow sink.
    pub const SLOW: u16 = 7005;
    /// Never reads.
    pub const STALL: u16 = 7006;
    /// HTTP.
    pub const HTTP: u16 = 80;
    /// What the service maps to [`ECHO`].
    pub const MAPPED: u16 = 8000;
}

/// Client on `n1`, server on `n2`, both in the mesh, and a pod that is not.
#[derive(Debug)]
pub struct Fixture<'lab> {
    /// The laboratory.
    pub lab: &'lab Lab,
    /// The mesh.
    pub mesh: Mesh<'lab>,
    /// `demo/client`, service account `client`, on `n1`.
    pub client: Pod,
    /// `demo/server`, service account `server`, on `n2`; runs `culvert-echo`.
    pub server: Pod,
    /// `outside/stranger` on `n1`, never in the mesh.
    pub stranger: Pod,
    /// The server's process.
    pub echo: Process,
}

impl<'lab> Fixture<'lab> {
    /// A mesh that has converged: both pods are captured and know each other.
    pub fn start(lab: &'lab Lab, options: MeshOptions) -> Result<Self> {
        let client = lab.pod("n1", "demo", "client", "client")?;
        let server = lab.pod("n2", "demo", "server", "server")?;
        let stranger = lab.pod("n1", "outside", "stranger", "stranger")?;
        let echo = start_echo(&server, "server")?;
        let mesh = Mesh::start(lab, options)?;
        mesh.put_namespace("demo", &[AMBIENT])?;
        mesh.put_namespace("outside", &[])?;
        mesh.put_pod(&client, &[], &[])?;
        mesh.put_pod(&server, &[], &[])?;
        mesh.put_pod(&stranger, &[], &[])?;
        mesh.put("server", &server_service())?;
        let fixture = Self {
            lab,
            mesh,
            client,
            server,
            stranger,
            echo,
        };
        fixture.converged(&[&fixture.client, &fixture.server])?;
        Ok(fixture)
    }

    /// A pod more, enrolled by its namespace, once the mesh knows it.
    pub fn add_pod(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Result<Pod> {
        let pod = self.lab.pod(node, namespace, name, service_account)?;
        self.mesh.put_namespace(namespace, &[AMBIENT])?;
        self.mesh.put_pod(&pod, &[], &[])?;
        self.converged(&[&pod])?;
        Ok(pod)
    }

    /// Waits until the pods are captured and both ztunnels take them for HBONE.
    pub fn converged(&self, pods: &[&Pod]) -> Result<()> {
        for pod in pods {
            self.mesh.wait_captured(pod)?;
            for node in ["n1", "n2"] {
                self.wait_protocol(node, pod, "HBONE")?;
            }
        }
        Ok(())
    }

    /// Waits until a node's ztunnel holds a pod with this tunnel protocol.
    pub fn wait_protocol(&self, node: &str, pod: &Pod, protocol: &str) -> Result<()> {
        let what = format!("{} known as {protocol}", pod.key());
        self.mesh.wait_ztunnel_state(node, &what, |dump| {
            workload(dump, pod).is_some_and(|found| found["tunnel"] == protocol)
        })
    }

    /// Writes a policy into a file of its own and waits until the server's ztunnel enforces it.
    pub fn enforce(&self, name: &str, spec: &str) -> Result<()> {
        let yaml = policy(name, spec);
        self.mesh.put(name, &yaml)?;
        self.wait_policy("n2", name, true)
    }

    /// Removes the file of a policy and waits until it is gone from the server's ztunnel.
    pub fn lift(&self, name: &str) -> Result<()> {
        self.mesh.remove(name)?;
        self.wait_policy("n2", name, false)
    }

    fn wait_policy(&self, node: &str, name: &str, present: bool) -> Result<()> {
        let what = format!(
            "policy {name} {}",
            if present { "enforced" } else { "gone" }
        );
        self.mesh.wait_ztunnel_state(node, &what, |dump| {
            let named = workload(dump, &self.server)
                .is_some_and(|found| found["policies"].to_string().contains(name));
            let known = dump["policies"].to_string().contains(&format!("/{name}\""));
            (named && known) == present && (named || known) == present
        })
    }

    /// Descriptors of both ztunnels, at rest.
    pub fn descriptors(&mut self) -> Result<[usize; 2]> {
        Ok([
            leaks::descriptors(self.mesh.ztunnel("n1")?.pid())?,
            leaks::descriptors(self.mesh.ztunnel("n2")?.pid())?,
        ])
    }

    /// Waits until both ztunnels hold no more descriptors than `before`, pooled tunnels (`pooled` a side) aside.
    pub fn no_descriptors_left(&mut self, before: [usize; 2], pooled: usize) -> Result<()> {
        let pids = [
            self.mesh.ztunnel("n1")?.pid(),
            self.mesh.ztunnel("n2")?.pid(),
        ];
        let held = || -> Result<[usize; 2]> {
            Ok([leaks::descriptors(pids[0])?, leaks::descriptors(pids[1])?])
        };
        let back = wait::until(
            "descriptors return to where they were",
            wait::PATIENCE,
            || {
                let now = held()?;
                let returned = now
                    .iter()
                    .zip(before)
                    .all(|(now, before)| *now <= before + pooled);
                Ok(returned.then_some(()))
            },
        );
        back.with_context(|| format!("before {before:?}, now {:?}", held().unwrap_or_default()))
    }

    /// Checks that the pods talk through the tunnel: the server's ztunnel names the client's identity.
    pub fn talks(&self) -> Result<()> {
        let mut stream = client::connect(&self.client, self.server.ip(), port::ECHO)?;
        client::ping(&mut stream, "over the tunnel")?;
        let connections = self.mesh.ztunnel_connections("n2")?.to_string();
        ensure!(
            connections.contains(&self.client.identity()),
            "the server's side does not name the client: {connections}"
        );
        Ok(())
    }
}

/// What a ztunnel's dump says of a pod.
pub fn workload<'dump>(dump: &'dump Value, pod: &Pod) -> Option<&'dump Value> {
    let workloads = dump["workloads"].as_array()?;
    workloads.iter().find(|found| {
        found["namespace"] == pod.namespace.as_str() && found["name"] == pod.name.as_str()
    })
}

/// Runs `culvert-echo` with every habit in a pod.
pub fn start_echo(pod: &Pod, name: &str) -> Result<Process> {
    let mut argv = vec![
        programs::own("culvert-echo")?.display().to_string(),
        "--name".into(),
        name.into(),
    ];
    let habits = [
        ("--echo", port::ECHO),
        ("--banner", port::BANNER),
        ("--mute", port::MUTE),
        ("--sink", port::SINK),
        ("--source", port::SOURCE),
        ("--slow", port::SLOW),
        ("--stall", port::STALL),
        ("--http", port::HTTP),
    ];
    for (flag, port) in habits {
        argv.extend([flag.to_owned(), port.to_string()]);
    }
    let mut process = pod.net.spawn(&format!("echo-{}", pod.name), &argv)?;
    pod.net.wait_for_server(&mut process, port::HTTP)?;
    Ok(process)
}

/// An AuthorizationPolicy in `demo`; `spec` is indented by two already.
pub fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\n\
         metadata:\n  name: {name}\n  namespace: demo\nspec:\n{spec}\n"
    )
}

fn server_service() -> String {
    let mut ports: Vec<_> = [
        port::ECHO,
        port::BANNER,
        port::SINK,
        port::SOURCE,
        port::HTTP,
    ]
    .map(Port::same)
    .into();
    ports.push(Port {
        port: port::MAPPED,
        target: port::ECHO,
        app_protocol: "",
    });
    objects::service("demo", "server", "server", &[VIP4, VIP6], &ports, &[])
}
