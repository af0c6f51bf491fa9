//! Log lines, which a thread of their own writes out.
//!
//! Invariants: who logs never waits for who reads the log; lines come out whole and in order; what finds no room is
//! counted, and the log says where lines are missing.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounterVec;

use crate::metrics;

/// Bytes that may wait for a reader.
const ROOM: usize = 1024 * 1024;
/// What is kept of the memory for them.
const KEPT: usize = 64 * 1024;
/// Lines of so long a time leave in one write.
const GATHER: Duration = Duration::from_millis(10);
/// How long the last lines may take.
const FAREWELL: Duration = Duration::from_secs(1);

static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::int_counter_vec(
        "culvert_log_lines_dropped_total",
        "Log lines that found no room because nobody read the log.",
        &[],
    )
});

/// Takes lines, each in one write.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

/// Writes out what is left when it is dropped.
#[derive(Debug)]
pub struct Log(Lines);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that found no room since the last ones that did.
    dropped: u64,
    writer: Writer,
    /// Nothing is gathered any more.
    closing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Looks again by itself.
    #[default]
    Busy,
    /// Waits to be woken.
    Asleep,
    /// There is none any more: who logs writes.
    Gone,
}

/// Start the thread that writes lines to `out`.
pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<(Lines, Log)> {
    let lines = Lines(Arc::new(Shared {
        waiting: Mutex::default(),
        changed: Condvar::new(),
    }));
    LazyLock::force(&DROPPED);
    let shared = lines.0.clone();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || shared.run(&mut out))?;
    Ok((lines.clone(), Log(lines)))
}

impl Shared {
    fn run(&self, out: &mut impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.bytes.is_empty() && !waiting.closing {
                waiting.writer = Writer::Asleep;
                waiting = self.wait(waiting);
            }
            waiting.writer = Writer::Busy;
            if waiting.bytes.is_empty() {
                waiting.writer = Writer::Gone;
                self.changed.notify_all();
                return;
            }
            std::mem::swap(&mut bytes, &mut waiting.bytes);
            let dropped = std::mem::take(&mut waiting.dropped);
            let closing = waiting.closing;
            drop(waiting);
            // Whoever reads it may have gone; then there is nobody to tell.
            let _ = out.write_all(&bytes);
            if dropped > 0 {
                let _ = writeln!(
                    out,
                    "{dropped} log lines are missing here: nobody read the log"
                );
            }
            bytes.clear();
            bytes.shrink_to(KEPT);
            if !closing {
                thread::sleep(GATHER);
            }
        }
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        self.changed
            .wait(waiting)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.writer == Writer::Gone {
            drop(waiting);
            return io::stderr().write(line);
        }
        if waiting.dropped > 0 || waiting.bytes.len() + line.len() > ROOM {
            waiting.dropped += 1;
            drop(waiting);
            DROPPED.with_label_values::<&str>(&[]).inc();
            return Ok(line.len());
        }
        waiting.bytes.extend_from_slice(line);
        if waiting.writer == Writer::Asleep {
            waiting.writer = Writer::Busy;
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let mut waiting = shared.lock();
        waiting.closing = true;
        shared.changed.notify_all();
        let gone = |waiting: &mut Waiting| waiting.writer != Writer::Gone;
        drop(shared.changed.wait_timeout_while(waiting, FAREWELL, gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// What was written, a write at a time; a write waits until its bytes are asked for.
    struct Slow(mpsc::SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_gone| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_does_not_wait_for_who_reads_and_nothing_else_is_lost() {
        let (sender, read) = mpsc::sync_channel(0);
        let (lines, log) = start(Slow(sender)).unwrap();
        let line = [b'x'; 1023];
        let mut all = 0_u64;
        // Nobody reads yet: more than there is room for does not block, and is counted.
        while lines.0.lock().dropped < 10 {
            (&lines).write_all(&[&line[..], b"\n"].concat()).unwrap();
            all += 1;
        }
        assert!(all <= (2 * ROOM / 1024 + 11) as u64, "{all} lines");
        let reader = thread::spawn(move || read.iter().flatten().collect::<Vec<u8>>());
        drop(log);
        let text = String::from_utf8(reader.join().unwrap()).unwrap();
        let whole = text.lines().filter(|line| line.len() == 1023).count();
        let missing: u64 = text
            .lines()
            .filter_map(|line| {
                line.split_once(" log lines are missing")?
                    .0
                    .parse::<u64>()
                    .ok()
            })
            .sum();
        assert_eq!(whole as u64 + missing, all, "{missing} missing");
        assert!(missing >= 10);
        let counted = DROPPED.with_label_values::<&str>(&[]).get();
        assert_eq!(counted, missing);
    }
}
