//! Counting what must return to where it was: descriptors, threads, namespaces.

use anyhow::{Context, Result};
use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> Result<usize> {
    let dir = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&dir).context(dir)?.count())
}

/// What each open descriptor of a process refers to, sorted: to say which ones leaked.
pub fn descriptor_targets(pid: u32) -> Result<Vec<String>> {
    let dir = format!("/proc/{pid}/fd");
    let links = fs::read_dir(&dir)
        .context(dir)?
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut targets: Vec<_> = links.map(|path| path.display().to_string()).collect();
    targets.sort();
    Ok(targets)
}

/// Threads of a process.
pub fn threads(pid: u32) -> Result<usize> {
    let dir = format!("/proc/{pid}/task");
    Ok(fs::read_dir(&dir).context(dir)?.count())
}

/// Resident memory of a process in bytes.
pub fn resident_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| format!("VmRSS in {path}"))?;
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .with_context(|| path)?;
    Ok(kib * 1024)
}

/// Distinct network namespaces that some process of this world is in or some name holds.
pub fn network_namespaces() -> Result<usize> {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if let Ok(netns) = fs::metadata(entry.path().join("ns/net")) {
            seen.insert(netns.ino());
        }
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Ok(netns) = fs::metadata(entry.path()) {
            seen.insert(netns.ino());
        }
    }
    Ok(seen.len())
}
