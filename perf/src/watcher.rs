//! Programs that watch others while work is done: perf and strace. They write down what they have seen when they are
//! interrupted, not when they are killed.

use anyhow::Result;
use std::process::{Child, Command};

/// Interrupts it and waits until it has written everything.
pub(crate) fn end(mut watcher: Child) -> Result<()> {
    Command::new("kill")
        .args(["-INT", &watcher.id().to_string()])
        .status()?;
    watcher.wait()?;
    Ok(())
}
