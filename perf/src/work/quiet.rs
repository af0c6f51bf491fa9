//! What the machine does while nothing is asked of anyone: what else runs on it disturbs every other figure.

use super::{Found, Setting, Work, names};
use crate::{cpu, figures::Figures};
use anyhow::Result;
use std::{
    thread,
    time::{Duration, Instant},
};

const WHILE: Duration = Duration::from_millis(500);
/// More than this, and figures of the run are not to be trusted.
pub(crate) const TOO_BUSY: f64 = 0.1;

/// Proxies and servers that idle.
pub(crate) struct Quiet;

impl Work for Quiet {
    fn name(&self) -> String {
        names::QUIET.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let begin = Instant::now();
        let ((), cpu) = cpu::spent(setting.proxies, || {
            thread::sleep(WHILE);
            Ok(())
        })?;
        let busy = cpu.host / begin.elapsed().as_secs_f64();
        if busy > TOO_BUSY {
            eprintln!("  {busy:.1} processors are busy with something else: figures will be off");
        }
        Ok(Figures::from([(names::BUSY.into(), busy)]).into())
    }
}
