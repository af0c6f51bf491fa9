//! What processes use: processor time, memory now and at its peak.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{collections::BTreeMap, fs};

use crate::cpu;

/// Names and process ids.
pub(crate) type Processes = Vec<(&'static str, u32)>;

/// Processor time so far, in seconds: of each process and, as `machine`, of all there are.
#[derive(Clone, Debug)]
pub(crate) struct Used(BTreeMap<&'static str, f64>);

impl Used {
    pub(crate) fn now(processes: &Processes) -> Result<Self> {
        let mut used = BTreeMap::new();
        for (name, pid) in processes {
            let cpu = cpu::read(&[*pid]).with_context(|| format!("{name} has ended"))?;
            used.insert(*name, cpu.proxies);
            used.insert("machine", cpu.host);
        }
        Ok(Self(used))
    }

    /// Seconds of processor time for each second since `before`; `others` is what none of the processes used.
    pub(crate) fn since(&self, before: &Self, seconds: f64) -> BTreeMap<&'static str, f64> {
        let rate = |name: &&'static str| {
            let (now, then) = (self.0.get(name), before.0.get(name));
            now.zip(then)
                .map_or(0.0, |(now, then)| (now - then) / seconds)
        };
        let mut rates: BTreeMap<_, _> = self.0.keys().map(|name| (*name, rate(name))).collect();
        let machine = rates.remove("machine").unwrap_or_default();
        let own: f64 = rates.values().sum();
        rates.insert("others", (machine - own).max(0.0));
        rates
    }
}

/// Memory of a process in megabytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_mb: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) pss_mb: f64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let read = |text: &str, key: &str| field(text, key).with_context(|| format!("{key} of {pid}"));
    Ok(Memory {
        rss_mb: read(&status, "VmRSS:")?,
        peak_rss_mb: read(&status, "VmHWM:")?,
        pss_mb: read(&rollup, "Pss:")?,
    })
}

fn field(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_ourselves() {
        assert_eq!(field("Rss: 1 kB\nPss:      2048 kB\n", "Pss:"), Some(2.0));
        let own = memory(std::process::id()).unwrap();
        assert!(own.rss_mb > 1.0 && own.peak_rss_mb >= own.rss_mb, "{own:?}");
    }

    #[test]
    fn what_is_not_ours_is_others() {
        let used =
            |controller, machine| Used([("controller", controller), ("machine", machine)].into());
        let rates = used(3.0, 10.0).since(&used(1.0, 4.0), 2.0);
        assert_eq!(rates["controller"], 1.0);
        assert_eq!(rates["others"], 2.0);
    }
}
