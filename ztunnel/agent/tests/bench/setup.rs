//! A pod, an agent and, where wanted, a ztunnel in a private world: what the tests of a pod's life begin with.

#![allow(dead_code, reason = "each suite uses its part of it")]

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use culvert_agent::capture::backend::Kind;
use culvert_lab::Lab;

use crate::bench::Bench;
use crate::bench::ztunnel::{Agent, Asked, Ztunnel};

/// Run a test in a private world, with a runtime.
pub(crate) fn world<F>(name: &str, body: impl FnOnce(Setup) -> F)
where
    F: Future<Output = Result<()>>,
{
    world_of(name, Kind::Iptables, body);
}

/// [`world`] with this backend.
pub(crate) fn world_of<F>(name: &str, kind: Kind, body: impl FnOnce(Setup) -> F)
where
    F: Future<Output = Result<()>>,
{
    culvert_lab::test(name, |lab: &Lab| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let setup = Setup {
            bench: Bench::with(lab, kind)?,
            run_dir: lab.subdir("agent")?,
        };
        runtime.block_on(body(setup))
    });
}

/// A pod's network and an agent's directory.
pub(crate) struct Setup {
    pub(crate) bench: Bench,
    pub(crate) run_dir: PathBuf,
}

impl Setup {
    pub(crate) fn agent(&self) -> Result<Agent> {
        Agent::start(&self.run_dir, &self.bench.tools)
    }

    pub(crate) fn uid(&self) -> &str {
        &self.bench.told.uid
    }

    pub(crate) fn records(&self) -> Result<usize> {
        let file = std::fs::read(self.run_dir.join("pods.json"))?;
        let records: serde_json::Value = serde_json::from_slice(&file)?;
        Ok(records.as_object().context("not an object")?.len())
    }

    /// A captured pod, its agent and its ztunnel.
    pub(crate) async fn captured(&self) -> Result<(Agent, Ztunnel)> {
        self.captured_by(self.agent()?).await
    }

    /// A pod captured by this agent, and its ztunnel.
    pub(crate) async fn captured_by(&self, agent: Agent) -> Result<(Agent, Ztunnel)> {
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        assert_eq!(ztunnel.grant().await?, Asked::Snapshot);
        agent.tell(&self.bench.told)?;
        ztunnel.grant_add().await?;
        agent.captured(self.uid()).await?;
        Ok((agent, ztunnel))
    }
}
