//! Where the whole machine's time goes during a piece of work, sampled by `perf`: for a person who wants to make it less.
//! Being watched costs time too, so that a profiled run's figures are of no other use.

use crate::watcher;
use anyhow::{Context, Result};
use culvert_lab::programs::{self, Program};
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

const PERF: Program = ("perf", "linux-perf");
/// Samples a second and processor, by the clock: virtual machines often lack counters. Not a divisor of anything that
/// runs by a clock itself.
const RATE: &str = "997";
/// What is less is left out.
const LEAST_PERCENT: &str = "0.5";

/// Does the work, and writes what it found to `DIR/NAME.txt`: processes and symbols by their own time.
pub(crate) fn during<T>(dir: &Path, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    programs::require(&[PERF])?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let file = |end: &str| dir.join(format!("{}.{end}", name.replace([' ', ','], "-")));
    let (data, text) = (file("data"), file("txt"));
    let perf = Command::new("perf")
        .args(["record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", RATE])
        .arg("-o")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("perf")?;
    let outcome = work();
    watcher::end(perf)?;
    let status = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none"])
        .args(["--sort", "comm,symbol", "--percent-limit", LEAST_PERCENT])
        .arg("-i")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(File::create(&text).with_context(|| text.display().to_string())?)
        .stderr(Stdio::null())
        .status()
        .context("perf report")?;
    anyhow::ensure!(status.success(), "perf report: {status}");
    eprintln!("  a profile: {}", text.display());
    outcome
}
