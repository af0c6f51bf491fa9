//! A load generator that this process started in a pod's network namespace.

use super::{Account, Order};
use anyhow::{Context, Result, bail};
use culvert_lab::Netns;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child as Process, ChildStdin, ChildStdout, Stdio},
};

/// A generator with its connections open. Ends when this goes.
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts it and waits until its connections are open.
    pub(crate) fn start(net: &Netns, order: &Order) -> Result<Self> {
        let program = env::current_exe()?.display().to_string();
        let mut process = net
            .command(&[program, "load".into(), serde_json::to_string(order)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the load generator")?;
        let input = process.stdin.take().context("its input")?;
        let output = process.stdout.take().context("its output")?;
        let mut child = Self {
            process,
            input,
            output: BufReader::new(output),
        };
        let line = child.line().context("opening connections")?;
        match line.trim() {
            "ready" => Ok(child),
            other => bail!("the load generator says {other:?}"),
        }
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.input.write_all(b"go\n")?;
        Ok(self.input.flush()?)
    }

    /// Waits for what it found.
    pub(crate) fn account(mut self) -> Result<Account> {
        let line = self.line()?;
        serde_json::from_str(&line).context("the load generator's account")
    }

    /// Both.
    pub(crate) fn run(mut self) -> Result<Account> {
        self.begin()?;
        self.account()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the load generator ended early ({})", self.process.wait()?);
        }
        Ok(line)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
