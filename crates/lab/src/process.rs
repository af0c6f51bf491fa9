//! Processes of a laboratory: long-running ones with a log file, and ones that are run to their end.
//!
//! Invariant: a [`Process`] that goes out of scope is killed and waited for.

use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

/// How long a program that is run to its end may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, what was not UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Its standard output if it succeeded.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.status.success(),
            "{}: {}{}",
            self.status,
            self.stderr,
            self.stdout
        );
        Ok(self.stdout)
    }
}

/// Runs a program in this process's own namespaces to its end; fails unless it succeeds.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("PATH", crate::programs::search_path());
    complete(&mut command, DEADLINE)?
        .success()
        .with_context(|| format!("{program} {args:?}"))
}

/// Runs a command to its end and collects its output; kills it at the deadline.
pub fn complete(command: &mut Command, deadline: Duration) -> Result<Output> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}", command.get_program().display()))?;
    let stdin = child.stdin.take();
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let ended = wait::until(format!("end of {command:?}"), deadline, || {
        Ok(child.try_wait()?)
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    drop(stdin);
    let (stdout, stderr) = (join(stdout)?, join(stderr)?);
    let status = ended.with_context(|| format!("{stdout}{stderr}"))?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

type Collector = thread::JoinHandle<io::Result<Vec<u8>>>;

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collector {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn join(collector: Collector) -> Result<String> {
    match collector.join() {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes?).into_owned()),
        Err(_) => bail!("the thread that collects a program's output panicked"),
    }
}

/// A running program whose output goes to a log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that it (and its predecessors of the same name) wrote.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        wait::until(
            format!("`{text}` in the log of {}", self.name),
            wait::PATIENCE,
            || Ok(self.log().contains(text).then_some(())),
        )
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        wait::until(format!("end of {}", self.name), deadline, || {
            Ok(self.child.try_wait()?)
        })
    }

    /// SIGTERM, then waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(wait::PATIENCE)
    }

    /// SIGKILL, then waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
