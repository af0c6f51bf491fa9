//! The test cluster, by its own command. See `tests/cluster`.

use crate::{
    kubectl::Kubectl,
    run::{self, Output, root},
};
use anyhow::{Context, Result, ensure};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    script: PathBuf,
    /// For everything that goes through its API.
    pub kubectl: Kubectl,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            script: root().join("tests/cluster/cluster"),
            kubectl: Kubectl::new(&root().join("target/cluster")),
        }
    }
}

impl Cluster {
    /// What the script built, called without the look whether it is still new.
    fn program(&self) -> Command {
        let out = root().join("target/cluster");
        let mut command = Command::new(out.join("bin/cluster"));
        command
            .env("CULVERT_CLUSTER_SOURCE", root().join("tests/cluster"))
            .env("CULVERT_CLUSTER_OUT", out);
        command
    }

    fn call(&self, args: &[&str], deadline: Duration) -> Result<Output> {
        run::run(self.program().args(args), "", deadline)
            .with_context(|| format!("cluster {args:?}"))
    }

    /// Whether it is up.
    pub fn is_ready(&self) -> Result<bool> {
        let mut script = Command::new(&self.script);
        Ok(run::run(script.arg("status"), "", Duration::from_secs(120))?.ok)
    }

    /// Starts it, with kube-proxy in this mode. Yields whether it was down; one that is up stays as it is.
    pub fn up(&self, proxy_mode: &str) -> Result<bool> {
        if self.is_ready()? {
            return Ok(false);
        }
        let args = ["up", "--dual-stack", "--proxy-mode", proxy_mode];
        self.call(&args, Duration::from_secs(900))?.success()?;
        ensure!(self.is_ready()?, "the cluster is up and not ready");
        Ok(true)
    }

    /// Stops it.
    pub fn down(&self) -> Result<()> {
        self.call(&["down"], Duration::from_secs(120))?.success()?;
        Ok(())
    }

    /// Loads images on every node.
    pub fn load(&self, archives: &[PathBuf]) -> Result<()> {
        let archives: Vec<_> = archives
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut args = vec!["load"];
        args.extend(archives.iter().map(String::as_str));
        self.call(&args, Duration::from_secs(300))?.success()?;
        Ok(())
    }

    /// Runs a shell script in a node's network and mount namespaces.
    pub fn on_node(&self, node: &str, script: &str) -> Result<Output> {
        let args = ["node", node, "--", "bash", "-c", script];
        self.call(&args, Duration::from_secs(60))
    }

    /// Starts a program in a node's namespaces.
    pub fn spawn_on_node(&self, node: &str, argv: &[&str]) -> Result<Child> {
        self.spawn(&[&["node", node, "--"], argv].concat())
    }

    /// Runs a shell script in the switch's network namespace: outside of the cluster, beside every link.
    pub fn outside(&self, script: &str) -> Result<Output> {
        let args = ["net", "--", "bash", "-c", script];
        self.call(&args, Duration::from_secs(60))
    }

    /// Starts a program there.
    pub fn spawn_outside(&self, argv: &[&str]) -> Result<Child> {
        self.spawn(&[&["net", "--"], argv].concat())
    }

    fn spawn(&self, args: &[&str]) -> Result<Child> {
        self.program()
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cluster {args:?}"))
    }

    /// Ends a node with everything on it, and starts it again.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.call(&["reboot", node], Duration::from_secs(180))?
            .success()?;
        Ok(())
    }
}
