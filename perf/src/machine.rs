//! On what the figures were taken.

use crate::pods::CONGESTION_CONTROL;
use anyhow::{Context, Result};
use serde::Serialize;
use std::{fs, thread};

/// What a reader must know to compare figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// How many of it.
    pub(crate) cores: usize,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// TCP's congestion control in the pods.
    pub(crate) congestion_control: &'static str,
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
        congestion_control: CONGESTION_CONTROL,
    })
}
