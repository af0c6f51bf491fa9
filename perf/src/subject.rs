//! What is measured: direct traffic, Culvert, a stock ztunnel under our controller and agents, or WireGuard and no mesh.
//!
//! Invariant: when a subject has started, a request has gone through it, and for a mesh through a tunnel; when it has
//! stopped, the pods are as without a mesh.

use crate::{
    stage::{NAMESPACE, Place, Stage},
    stock,
    wireguard::WireGuard,
};
use anyhow::Result;
use culvert_lab::{Lab, Mesh, MeshOptions, Process, objects, until, wait::PATIENCE};
use std::path::PathBuf;

/// Whose way the bytes go.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// From pod to pod with no mesh.
    Direct,
    /// Our ztunnels.
    Culvert,
    /// Our ztunnels with one data core each.
    OneCore,
    /// The stock ztunnel at this path.
    Stock(PathBuf),
    /// With no mesh, through the kernel's WireGuard between the nodes.
    WireGuard,
}

/// Names of subjects, as tables and files have them.
pub(crate) const DIRECT: &str = "direct";
/// Ours.
pub(crate) const CULVERT: &str = "culvert";
/// Ours with one data core.
pub(crate) const ONE_CORE: &str = "culvert, 1 core";
/// The L7 hop beside our waypoint, which counts as ours.
pub(crate) const ENVOY: &str = "envoy";
/// The peer.
pub(crate) const STOCK: &str = "stock";
/// Encryption between nodes, by the kernel.
pub(crate) const WIREGUARD: &str = "wireguard";

impl Subject {
    /// As tables and files name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Direct => DIRECT,
            Self::Culvert => CULVERT,
            Self::OneCore => ONE_CORE,
            Self::Stock(_) => STOCK,
            Self::WireGuard => WIREGUARD,
        }
    }
}

/// A subject that runs.
pub(crate) struct Running<'lab> {
    mesh: Option<Mesh<'lab>>,
    /// Held so that they run; they end with this.
    _stock: Vec<Process>,
    _wireguard: Option<WireGuard<'lab>>,
    proxies: Vec<u32>,
}

impl<'lab> Running<'lab> {
    /// Starts it and waits until traffic goes its way.
    pub(crate) fn start(subject: &Subject, lab: &'lab Lab, stage: &Stage) -> Result<Self> {
        let mut stock = Vec::new();
        let wireguard = match subject {
            Subject::WireGuard => Some(WireGuard::up(lab)?),
            _ => None,
        };
        let (mesh, proxies) = match subject {
            Subject::Direct | Subject::WireGuard => (None, Vec::new()),
            Subject::Culvert => culvert(lab, ours())?,
            Subject::OneCore => {
                let options = MeshOptions {
                    ztunnel_args: vec!["--data-cores".into(), "1".into()],
                    ..ours()
                };
                culvert(lab, options)?
            }
            Subject::Stock(program) => {
                let mut mesh = Mesh::new(lab, MeshOptions::default())?;
                mesh.start_controller()?;
                for node in lab.nodes() {
                    mesh.start_agent(node.name())?;
                    stock.push(stock::start(program, &mesh, node)?);
                }
                (Some(mesh), stock.iter().map(Process::pid).collect())
            }
        };
        if let Some(mesh) = &mesh {
            enroll(mesh, stage)?;
        }
        for place in [Place::TwoNodes, Place::SameNode, Place::Outside] {
            until(format!("a request, {place}"), PATIENCE, || {
                stage.request(place).map(Some)
            })?;
        }
        if mesh.is_some() {
            until("a tunnel between the pods", PATIENCE, || {
                stage.request(Place::TwoNodes)?;
                Ok(stage.tunnelled()?.then_some(()))
            })?;
        }
        Ok(Self {
            mesh,
            _stock: stock,
            _wireguard: wireguard,
            proxies,
        })
    }

    /// Process ids of the two proxies, the client's node's first; or none.
    pub(crate) fn proxies(&self) -> &[u32] {
        &self.proxies
    }

    /// Takes the pods out of the mesh and ends it.
    pub(crate) fn stop(self, stage: &Stage) -> Result<()> {
        let Some(mesh) = self.mesh else { return Ok(()) };
        mesh.put_namespace(NAMESPACE, &[])?;
        for pod in stage.pods() {
            mesh.wait_released(pod)?;
        }
        Ok(())
    }
}

/// Everything that a mesh has to offer is on.
fn ours() -> MeshOptions {
    MeshOptions {
        same_node: "InProcess".into(),
        ..MeshOptions::default()
    }
}

fn culvert(lab: &Lab, options: MeshOptions) -> Result<(Option<Mesh<'_>>, Vec<u32>)> {
    let mut mesh = Mesh::start(lab, options)?;
    let pids = vec![mesh.ztunnel("n1")?.pid(), mesh.ztunnel("n2")?.pid()];
    Ok((Some(mesh), pids))
}

/// Puts all pods into the mesh and waits until they are.
pub(crate) fn enroll(mesh: &Mesh<'_>, stage: &Stage) -> Result<()> {
    for pod in stage.pods() {
        mesh.put_pod(pod, &[], &[])?;
    }
    mesh.put_namespace(NAMESPACE, &[objects::AMBIENT])?;
    for pod in stage.pods() {
        mesh.wait_captured(pod)?;
    }
    Ok(())
}
