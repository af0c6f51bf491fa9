//! Processor time that a piece of work costs: the whole machine's, since kernel work for the network is charged to
//! nobody, and the proxies' own.
//!
//! The machine's is all time in which a processor neither idled nor was taken away by a hypervisor. Not the sum of what the
//! kernel calls user and system time: that is sampled at ticks, and misses work that begins when a timer fires and is
//! done before the next one.

use anyhow::{Context, Result};
use std::{fs, sync::OnceLock, time::Instant};

/// Ticks a second of the times in /proc (USER_HZ), which is 100 on every architecture we build for.
const TICKS: f64 = 100.0;

/// Seconds of processor time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// All processes and the kernel, of the whole machine.
    pub(crate) host: f64,
    /// User and system time of the proxies together.
    pub(crate) proxies: f64,
    /// The same of each, in the order in which they were named.
    pub(crate) each: Vec<f64>,
}

/// Does the work, and says what it cost.
pub(crate) fn spent<T>(proxies: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, Cpu)> {
    let before = read(proxies)?;
    let result = work()?;
    let after = read(proxies)?;
    let each = after.each.iter().zip(&before.each);
    let cpu = Cpu {
        host: after.host - before.host,
        proxies: after.proxies - before.proxies,
        each: each.map(|(after, before)| after - before).collect(),
    };
    Ok((result, cpu))
}

pub(crate) fn read(proxies: &[u32]) -> Result<Cpu> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let idle = stat
        .lines()
        .next()
        .and_then(idle_ticks)
        .context("/proc/stat: no line `cpu`")?;
    let processors = stat.lines().filter(|line| is_processor(line)).count();
    // Only differences count, so that any origin will do.
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let wall = ORIGIN.get_or_init(Instant::now).elapsed().as_secs_f64();
    let mut each = Vec::with_capacity(proxies.len());
    for pid in proxies {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
        each.push(process_ticks(&stat).with_context(|| path)? / TICKS);
    }
    Ok(Cpu {
        host: wall * small(processors) - idle / TICKS,
        proxies: each.iter().sum(),
        each,
    })
}

/// Idle, waiting, and stolen: the fourth, fifth and eighth value.
fn idle_ticks(line: &str) -> Option<f64> {
    let values: Option<Vec<f64>> = line
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map(|v| v.parse().ok())
        .collect();
    let values = values?;
    Some(values.get(3)? + values.get(4)? + values.get(7)?)
}

/// `cpu0`, and not the line of all of them.
fn is_processor(line: &str) -> bool {
    let number = line.strip_prefix("cpu").unwrap_or_default();
    number.starts_with(|first: char| first.is_ascii_digit())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody has that many processors"
)]
fn small(count: usize) -> f64 {
    count as f64
}

/// User and system ticks: the 14th and 15th field, counted behind the name, which may hold anything.
fn process_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_and_stolen_time_is_not_spent() {
        assert_eq!(
            idle_ticks("cpu  1 2 4 1000 2000 8 16 32 64 128"),
            Some(3032.0)
        );
        assert_eq!(idle_ticks("cpu0 1 2 4"), None);
        assert!(is_processor("cpu11 1 2") && !is_processor("cpu  1 2"));
    }

    #[test]
    fn work_between_ticks_is_counted() {
        let ((), cpu) = spent(&[std::process::id()], || {
            let begin = Instant::now();
            while begin.elapsed().as_millis() < 200 {}
            Ok(())
        })
        .unwrap();
        assert!(cpu.host > 0.1, "{cpu:?}");
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 300 44 0 0";
        assert_eq!(process_ticks(stat), Some(344.0));
    }
}
