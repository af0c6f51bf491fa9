//! What is measured: direct traffic, Culvert, or a stock ztunnel under our controller and agents.
//!
//! Invariant: when a subject has started, a request has gone through it, and for a mesh through a tunnel; when it has
//! stopped, the pods are as without a mesh.

use crate::{pods::Pods, stock};
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
    /// The stock ztunnel at this path.
    Stock(PathBuf),
}

impl Subject {
    /// As tables and files name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Culvert => "culvert",
            Self::Stock(_) => "stock",
        }
    }
}

/// A subject that runs.
pub(crate) struct Running<'lab> {
    mesh: Option<Mesh<'lab>>,
    /// Held so that they run; they end with this.
    _stock: Vec<Process>,
    proxies: Vec<u32>,
}

impl<'lab> Running<'lab> {
    /// Starts it and waits until traffic goes its way.
    pub(crate) fn start(subject: &Subject, lab: &'lab Lab, pods: &Pods) -> Result<Self> {
        let mut stock = Vec::new();
        let (mesh, proxies) = match subject {
            Subject::Direct => (None, Vec::new()),
            Subject::Culvert => {
                let mut mesh = Mesh::start(lab, MeshOptions::default())?;
                let pids = [mesh.ztunnel("n1")?.pid(), mesh.ztunnel("n2")?.pid()];
                (Some(mesh), pids.to_vec())
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
            enroll(mesh, pods)?;
        }
        until("a request from pod to pod", PATIENCE, || {
            pods.request().map(Some)
        })?;
        if mesh.is_some() {
            until("a tunnel between the pods", PATIENCE, || {
                Ok(pods.tunnelled()?.then_some(()))
            })?;
        }
        Ok(Self {
            mesh,
            _stock: stock,
            proxies,
        })
    }

    /// Process ids of the two proxies, or none.
    pub(crate) fn proxies(&self) -> &[u32] {
        &self.proxies
    }

    /// Takes the pods out of the mesh and ends it.
    pub(crate) fn stop(self, pods: &Pods) -> Result<()> {
        let Some(mesh) = self.mesh else { return Ok(()) };
        mesh.put_namespace(pods.namespace(), &[])?;
        for pod in pods.both() {
            mesh.wait_released(pod)?;
        }
        Ok(())
    }
}

fn enroll(mesh: &Mesh<'_>, pods: &Pods) -> Result<()> {
    for pod in pods.both() {
        mesh.put_pod(pod, &[], &[])?;
    }
    mesh.put_namespace(pods.namespace(), &[objects::AMBIENT])?;
    for pod in pods.both() {
        mesh.wait_captured(pod)?;
    }
    Ok(())
}
