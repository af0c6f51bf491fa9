//! kubectl of the test cluster: objects applied, read, waited for, programs run in pods.

use crate::run::{self, Output};
use anyhow::{Context, Result, bail};
use culvert_lab::wait;
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// For what Kubernetes does by itself: scheduling, starting containers, endpoints.
pub const PATIENCE: Duration = Duration::from_secs(90);
const CALL: Duration = Duration::from_secs(60);

/// A way to call kubectl, and helm.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubectl: PathBuf,
    helm: PathBuf,
    /// Of the cluster's administrator.
    pub kubeconfig: PathBuf,
}

impl Kubectl {
    /// Of the cluster below `out` (`target/cluster`).
    pub fn new(out: &std::path::Path) -> Self {
        Self {
            kubectl: out.join("bin/kubectl"),
            helm: out.join("bin/helm"),
            kubeconfig: out.join("kubeconfig"),
        }
    }

    fn command(&self, program: &PathBuf, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).args(args);
        command
    }

    /// Runs kubectl; also its failure is an outcome.
    pub fn try_run(&self, args: &[&str]) -> Result<Output> {
        run::run(&mut self.command(&self.kubectl, args), "", CALL)
    }

    /// Runs kubectl, which has to succeed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.try_run(args)?
            .success()
            .with_context(|| format!("kubectl {args:?}"))
    }

    /// Runs helm; also its refusal is an outcome.
    pub fn try_helm(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.command(&self.helm, args);
        run::run(&mut command, "", Duration::from_secs(240))
    }

    /// Runs helm, which has to succeed.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        self.try_helm(args)?
            .success()
            .with_context(|| format!("helm {args:?}"))
    }

    /// Applies YAML; also its refusal is an outcome.
    pub fn try_apply(&self, yaml: &str) -> Result<Output> {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        run::run(&mut self.command(&self.kubectl, &args), yaml, CALL)
    }

    /// Applies YAML.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.try_apply(yaml)?.success().with_context(|| {
            format!(
                "applying {}",
                yaml.lines().take(12).collect::<Vec<_>>().join("\n")
            )
        })?;
        Ok(())
    }

    /// An object, or a list of them, as JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let args = [&["get", "-o", "json"], args].concat();
        Ok(serde_json::from_str(&self.run(&args)?)?)
    }

    /// The objects of a list.
    pub fn list(&self, args: &[&str]) -> Result<Vec<Value>> {
        Ok(self.json(args)?["items"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// One field of an object, by JSON path without braces.
    pub fn field(&self, namespace: &str, object: &str, path: &str) -> Result<String> {
        let path = format!("jsonpath={{{path}}}");
        self.run(&["-n", namespace, "get", object, "-o", &path])
    }

    /// Runs a shell script in a pod.
    pub fn sh(&self, namespace: &str, pod: &str, script: &str) -> Result<Output> {
        let args = ["-n", namespace, "exec", pod, "--", "bash", "-c", script];
        self.try_run(&args)
    }

    /// Runs a shell script in a pod, which has to succeed.
    pub fn sh_ok(&self, namespace: &str, pod: &str, script: &str) -> Result<String> {
        self.sh(namespace, pod, script)?
            .success()
            .with_context(|| format!("in {namespace}/{pod}: {script}"))
    }

    /// Starts a program in a pod that goes on. Its output comes by pipe.
    pub fn spawn(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Child> {
        let args = [&["-n", namespace, "exec", pod, "--"], argv].concat();
        self.command(&self.kubectl, &args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl exec")
    }

    /// Waits until every pod of `namespace` that `selector` selects is ready, and that there is one.
    pub fn wait_ready(&self, namespace: &str, selector: &str) -> Result<()> {
        wait::until(
            format!("ready pods in {namespace} ({selector})"),
            PATIENCE,
            || {
                let pods = self.list(&["-n", namespace, "pods", "-l", selector])?;
                let waiting: Vec<_> = pods
                    .iter()
                    .filter(|pod| condition(pod, "Ready") != Some("True"))
                    .map(name)
                    .collect();
                if pods.is_empty() || !waiting.is_empty() {
                    pause();
                    bail!(
                        "{} of {} are not ready: {waiting:?}",
                        waiting.len(),
                        pods.len()
                    );
                }
                Ok(Some(()))
            },
        )
    }

    /// Waits until `kubectl rollout status` is content.
    pub fn rolled_out(&self, namespace: &str, object: &str) -> Result<()> {
        let args = [
            "-n",
            namespace,
            "rollout",
            "status",
            object,
            "--timeout=150s",
        ];
        run::run(
            &mut self.command(&self.kubectl, &args),
            "",
            Duration::from_secs(160),
        )?
        .success()
        .with_context(|| format!("rollout of {object}"))?;
        Ok(())
    }

    /// Delete a pod without its grace, if it is there.
    pub fn delete_pod(&self, namespace: &str, pod: &str) -> Result<()> {
        let now = ["--ignore-not-found", "--grace-period=0", "--force"];
        self.run(&[&["-n", namespace, "delete", "pod", pod], &now[..]].concat())?;
        Ok(())
    }

    /// Deletes namespaces and waits until they are gone.
    pub fn delete_namespaces(&self, names: &[&str]) -> Result<()> {
        let args = [
            &["delete", "namespace", "--ignore-not-found", "--timeout=90s"],
            names,
        ]
        .concat();
        run::run(
            &mut self.command(&self.kubectl, &args),
            "",
            Duration::from_secs(100),
        )?
        .success()?;
        Ok(())
    }
}

/// Between two looks at the API: a look is a process.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(150));
}

/// An object's name.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The status of a condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    conditions(object)
        .find(|condition| condition["type"] == kind)
        .and_then(|condition| condition["status"].as_str())
}

/// All conditions of an object.
pub fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
}
