//! Running the node's tools for rules, and why they fail.
//!
//! Invariant: a command acts on the network namespace of the calling thread, which its children inherit.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Why a tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be run.
    #[error("{program}: {source}")]
    Run {
        /// Its name.
        program: String,
        /// What went wrong.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// Its name.
        program: String,
        /// What it wrote to stderr.
        message: String,
    },
    /// It succeeded, but what can be read back is something else.
    #[error("{program} reads back other rules than were written: {drift}")]
    ReadBack {
        /// Its name.
        program: String,
        /// What differs.
        drift: String,
    },
    /// No namespace to try it in.
    #[error("cannot make a network namespace to try rules in: {0}")]
    Scratch(io::Error),
    /// No backend works here.
    #[error("no rules can be made here; {0}")]
    None(String),
}

/// Run `program` on `input` and yield what it prints. `lock` is the lock file of legacy iptables where it
/// is not the system's own.
pub fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    lock: Option<&Path>,
) -> Result<String, ToolError> {
    let failed = |source| ToolError::Run {
        program: program.to_owned(),
        source,
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    if let Some(lock) = lock {
        command.env("XTABLES_LOCKFILE", lock);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // On a thread, so that a tool which prints before it has read all does not wait for us.
    let stdin = child.stdin.take();
    let (written, output) = std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output();
        let panicked = |_panic| Err(io::Error::other("the thread panicked"));
        (writer.join().unwrap_or_else(panicked), output)
    });
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let program = program.to_owned();
        return Err(ToolError::Failed { program, message });
    }
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Run `f` in a network namespace made for it, which ends with it.
pub fn in_scratch<T: Send>(
    f: impl FnOnce() -> Result<T, ToolError> + Send,
) -> Result<T, ToolError> {
    let ran = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| ToolError::Scratch(e.into()))?;
            f()
        });
        inside.join()
    });
    let panicked = |_panic| ToolError::Scratch(io::Error::other("the thread panicked"));
    ran.unwrap_or_else(|panic| Err(panicked(panic)))
}
