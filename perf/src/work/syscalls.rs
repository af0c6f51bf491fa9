//! System calls of the proxies for a request and for a megabyte of bulk, counted by strace in a window of its own, since
//! being watched slows them down: no time or cost is taken from it.

use super::{Found, Setting, Work, bulk};
use crate::{
    figures::{Figures, number},
    load::{Child, Shape},
    stage::Body,
    watcher,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Until it has stopped every thread once.
const ATTACH: Duration = Duration::from_millis(500);
const SECONDS: f64 = 2.0;

/// Over 64 connections, and over one stream.
pub(crate) struct Syscalls {
    /// For strace's table.
    pub(crate) dir: PathBuf,
}

impl Work for Syscalls {
    fn name(&self) -> String {
        "system calls".into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let setting = Setting {
            seconds: SECONDS,
            ..*setting
        };
        let shape = Shape::Closed { connections: 64 };
        let child = Child::start(
            &setting.stage.client().net,
            &setting.order(Body::B64, shape),
        )?;
        let (account, calls) = self.count(setting.proxies, || child.run())?;
        let mut figures = Figures::new();
        let requests = number(account.served).max(1.0);
        figures.insert("calls/request, http 64".into(), calls / requests);
        let argv = bulk::command(&setting, 1, SECONDS);
        let (text, calls) =
            self.count(setting.proxies, || setting.stage.client().net.run(&argv))?;
        let (bytes, _) = bulk::received(&text)?;
        figures.insert("calls/MB, bulk 1".into(), calls / (bytes / 1e6));
        Ok(figures.into())
    }
}

impl Syscalls {
    fn count<T>(&self, pids: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let table = self.dir.join("strace");
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-q", "-o"]).arg(&table);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let strace = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(ATTACH);
        let result = work();
        watcher::end(strace)?;
        let text = fs::read_to_string(&table).context("strace's table")?;
        let calls = total(&text).with_context(|| format!("strace's table: {text}"))?;
        ensure!(calls > 0.0, "strace saw nothing");
        Ok((result?, calls))
    }
}

/// The third column of the last line but for its name, which is `total`.
fn total(table: &str) -> Option<f64> {
    let line = table
        .lines()
        .rfind(|line| line.trim_end().ends_with("total"))?;
    let mut columns = line.split_whitespace().skip(2);
    let first = columns.next()?;
    let second = columns.next()?;
    // Some versions leave out the column of microseconds a call in this line.
    match columns.next() {
        Some(_) => second.parse().ok(),
        None => first.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.000012          12        10         3 read\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.000012           1        10         3 total\n";
        assert_eq!(total(table), Some(10.0));
        assert_eq!(total(""), None);
    }
}
