//! Programs that are run to their end, with input and a deadline.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Its standard output if it succeeded.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.ok,
            "exit code {}: {}{}",
            self.code,
            self.stderr,
            self.stdout
        );
        Ok(self.stdout)
    }

    /// Both of its streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The root of the source tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap_or(here)
}

/// Runs `command` with `input`, kills it at the deadline.
pub fn run(command: &mut Command, input: &str, deadline: Duration) -> Result<Output> {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| what.clone())?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    let writer = thread::spawn(move || {
        // A program that does not read all of its input says by its exit code whether that is wrong.
        stdin.is_some_and(|mut stdin| stdin.write_all(input.as_bytes()).is_ok())
    });
    let stdout = collect(stdout);
    let stderr = collect(stderr);
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let join = |thread: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (join(stdout), join(stderr));
    drop(writer.join());
    let Some(status) = status else {
        bail!("{what}: not done after {deadline:?}: {stdout}{stderr}");
    };
    Ok(Output {
        ok: status.success(),
        code: status.code().unwrap_or(-1),
        stdout,
        stderr,
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is kept: the exit code tells of the rest.
            drop(pipe.read_to_end(&mut bytes));
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_code_are_passed() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo no >&2; exit 3"]);
        let output = run(&mut command, "yes", Duration::from_secs(5)).unwrap();
        assert_eq!(
            (
                output.ok,
                output.code,
                output.stdout.as_str(),
                output.stderr.as_str()
            ),
            (false, 3, "yes", "no\n")
        );
        assert!(output.success().is_err());
    }

    #[test]
    fn the_deadline_ends_it() {
        let mut command = Command::new("sleep");
        let error = run(command.arg("60"), "", Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("not done after"));
    }
}
