//! On what the figures were taken: the machine, and the programs with their versions and hashes.

use crate::stage::CONGESTION_CONTROL;
use anyhow::{Context, Result};
use culvert_lab::programs;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// What a reader must know to compare figures.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// How many of it.
    pub(crate) cores: usize,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// TCP's congestion control in the pods.
    pub(crate) congestion_control: String,
}

/// A program that took part.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Program {
    /// Its file's name.
    pub(crate) name: String,
    /// The first line of what it says about its version.
    pub(crate) version: String,
    /// Of its file.
    pub(crate) sha256: String,
}

/// This machine.
pub(crate) fn describe() -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    Ok(Machine {
        processor: model.trim_start_matches([' ', '\t', ':']).to_owned(),
        cores: thread::available_parallelism()?.get(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        congestion_control: CONGESTION_CONTROL.to_owned(),
    })
}

/// Our own programs, the peer and the servers.
pub(crate) fn programs(stock: Option<&Path>, envoy: Option<&Path>) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for name in ["culvert-ztunnel", "culvert-agent", "culvert-controller"] {
        found.push(program(&programs::own(name)?, &["--version"])?);
    }
    found.push(program(&std::env::current_exe()?, &["--version"])?);
    if let Some(path) = stock {
        found.push(program(path, &["version"])?);
    }
    if let Some(path) = envoy {
        found.push(program(
            &programs::own("culvert-waypoint")?,
            &["--version"],
        )?);
        found.push(program(path, &["--version"])?);
    }
    for (name, flag) in [("nginx", "-v"), ("iperf3", "--version")] {
        if let Some(path) = find(name) {
            found.push(program(&path, &[flag])?);
        }
    }
    Ok(found)
}

fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&programs::search_path())
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn program(path: &Path, question: &[&str]) -> Result<Program> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let mut sha256 = String::new();
    for byte in boring::sha::sha256(&bytes) {
        let _ = write!(sha256, "{byte:02x}");
    }
    // nginx answers on its standard error.
    let output = Command::new(path).args(question).output()?;
    let text = [output.stdout, output.stderr].concat();
    let name = path.file_name().unwrap_or_default().display().to_string();
    // Some say where they are.
    let text = String::from_utf8_lossy(&text).replace(&path.display().to_string(), &name);
    Ok(Program {
        name,
        version: text
            .trim()
            .lines()
            .next()
            .unwrap_or("unknown")
            .trim()
            .to_owned(),
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_hash() {
        let found = program(Path::new("/bin/sh"), &["-c", "echo version 1; echo more"]).unwrap();
        assert_eq!(found.version, "version 1");
        assert_eq!(found.sha256.len(), 64);
    }
}
