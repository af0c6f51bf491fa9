//! Memory of processes: the proportional set size, which counts private pages whole and divides shared ones between those
//! who share them.

use anyhow::{Context, Result};
use std::{fs, thread, time::Duration};

const INTERVAL: Duration = Duration::from_millis(500);
/// Readings that differ by less than this are the same.
const NOISE: u64 = 64 * 1024;
const READINGS: usize = 24;
/// So many in a row must be the same: allocators give back in steps.
const STILL: usize = 3;

/// Of all the processes together, in bytes.
pub(crate) fn share(pids: &[u32]) -> Result<u64> {
    let mut total = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        total += pss(&text).with_context(|| path)?;
    }
    Ok(total)
}

/// The same, once it has stopped changing.
pub(crate) fn settled(pids: &[u32]) -> Result<u64> {
    let (mut last, mut same) = (share(pids)?, 0);
    for _ in 0..READINGS {
        thread::sleep(INTERVAL);
        let now = share(pids)?;
        same = if now.abs_diff(last) < NOISE {
            same + 1
        } else {
            0
        };
        last = now;
        if same == STILL {
            break;
        }
    }
    Ok(last)
}

/// Megabytes, for people.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportional_size_is_read() {
        let text = "5000-7000 ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:     812 kB\nPss_Anon: 700 kB\n";
        assert_eq!(pss(text), Some(812 * 1024));
        assert_eq!(pss("Rss: 1 kB\n"), None);
    }
}
