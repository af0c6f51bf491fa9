//! Traffic that flows while something happens to the mesh: new connections all the time, or one that lasts.

use crate::kubectl::Kubectl;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout},
};

/// A program in a pod that makes traffic until it is told to stop.
#[derive(Debug)]
pub struct Traffic {
    kubectl: Kubectl,
    namespace: String,
    pod: String,
    stop: String,
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What new connections came to.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections that were answered.
    pub answered: u64,
    /// Their names of servers and how many each.
    pub by: Value,
    /// What failed, when, after how long.
    pub failures: Vec<Value>,
    /// Seconds of the longest.
    pub longest: f64,
}

impl Traffic {
    /// A new connection each `interval` seconds to an HTTP server. Returns when the first was answered.
    pub fn load(
        kubectl: &Kubectl,
        namespace: &str,
        pod: &str,
        interval: &str,
        host: &str,
        port: &str,
    ) -> Result<Self> {
        Self::start(
            kubectl,
            namespace,
            pod,
            &format!("load-{host}-{port}"),
            &["/e2e/load.py"],
            &[interval, host, port],
        )
    }

    /// One connection to an echo server that lasts.
    pub fn hold(
        kubectl: &Kubectl,
        namespace: &str,
        pod: &str,
        host: &str,
        port: &str,
    ) -> Result<Self> {
        Self::start(
            kubectl,
            namespace,
            pod,
            &format!("hold-{host}-{port}"),
            &["/e2e/hold.py"],
            &[host, port],
        )
    }

    fn start(
        kubectl: &Kubectl,
        namespace: &str,
        pod: &str,
        stop: &str,
        program: &[&str],
        args: &[&str],
    ) -> Result<Self> {
        let argv = [program, &[stop], args].concat();
        let mut child = kubectl.spawn(namespace, pod, &argv)?;
        let mut output = BufReader::new(child.stdout.take().context("output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim() != "started" {
            let mut why = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut why)?;
            }
            anyhow::bail!("traffic {argv:?} from {namespace}/{pod} did not start: {line}{why}");
        }
        Ok(Self {
            kubectl: kubectl.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            stop: stop.to_owned(),
            child,
            output,
        })
    }

    fn end(mut self, more: u64) -> Result<String> {
        // In one step: the program never reads half a file.
        let stop = format!("/tmp/{}", self.stop);
        self.kubectl.sh_ok(
            &self.namespace,
            &self.pod,
            &format!("echo {more} >{stop}.new && mv {stop}.new {stop}"),
        )?;
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        let mut why = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut why)?;
        }
        ensure!(status.success(), "traffic ended with {status}: {text}{why}");
        Ok(text)
    }

    /// Stops new connections once `more` were answered from now on, and says what they came to.
    ///
    /// So what happened meanwhile is over for them too, however quick it was. Fails if they are not answered within a minute.
    pub fn finish(self, more: u64) -> Result<Load> {
        let text = self.end(more)?;
        let all: Value = serde_json::from_str(text.trim()).with_context(|| text.clone())?;
        ensure!(
            all["complete"] == true,
            "not {more} more connections were answered within a minute: {text}"
        );
        let answers = all["answers"].as_object().context("answers")?;
        Ok(Load {
            answered: answers.values().filter_map(Value::as_u64).sum(),
            by: all["answers"].clone(),
            failures: all["failures"].as_array().cloned().unwrap_or_default(),
            longest: all["longest"].as_f64().unwrap_or_default(),
        })
    }

    /// Ends the connection that lasted; fails if it broke.
    pub fn unbroken(self) -> Result<String> {
        Ok(self.end(1)?.trim().to_owned())
    }
}

impl Load {
    /// Fails if any connection failed.
    pub fn all_answered(&self) -> Result<String> {
        ensure!(
            self.failures.is_empty(),
            "{} of {} connections failed: {}",
            self.failures.len(),
            self.answered + self.failures.len() as u64,
            self.failures
                .iter()
                .take(5)
                .map(Value::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        );
        Ok(format!(
            "{} new connections, none failed, the longest took {:.2} s",
            self.answered, self.longest
        ))
    }
}
