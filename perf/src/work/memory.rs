//! Memory of idle connections: the proxies' share of physical memory with many connections that have each carried one
//! request and stay open, less the same with none.

use super::{Figures, MEMORY, MEMORY_BASE, Setting};
use crate::pods::HTTP;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(500);
/// Readings that differ by less than this are the same.
const NOISE: u64 = 64 * 1024;
const READINGS: usize = 20;

/// Opens the connections, reads memory, and closes them.
pub(crate) fn run(setting: &Setting<'_>) -> Result<Figures> {
    let server = setting.pods.server_address(HTTP);
    let open = |count| setting.pods.client().net.enter(|| open(server, count))?;
    // What the first connections of a process make and keep is not memory of an idle connection.
    drop(open(1)?);
    let before = settled(setting.proxies)?;
    let connections = open(setting.idle)?;
    let after = settled(setting.proxies)?;
    drop(connections);
    let mut figures = Figures::new();
    if !setting.proxies.is_empty() {
        let grown = after as f64 - before as f64;
        figures.insert(MEMORY, grown / setting.idle.max(1) as f64);
        figures.insert(MEMORY_BASE, before as f64 / 1e6);
    }
    Ok(figures)
}

/// Connections that have carried one request each.
fn open(server: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|i| connect(server).with_context(|| format!("connection {i} of {count}")))
        .collect()
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.ends_with(crate::pods::BODY.as_bytes()) {
        let length = stream.read(&mut chunk)?;
        ensure!(length > 0, "the server closed the connection");
        answer.extend_from_slice(chunk.get(..length).unwrap_or_default());
    }
    Ok(stream)
}

/// Memory of the processes once it has stopped changing.
fn settled(pids: &[u32]) -> Result<u64> {
    let mut last = share(pids)?;
    for _ in 0..READINGS {
        thread::sleep(INTERVAL);
        let now = share(pids)?;
        if now.abs_diff(last) < NOISE {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// Proportional set size: private pages whole, shared ones divided between those who share them.
fn share(pids: &[u32]) -> Result<u64> {
    let mut total = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        total += pss(&text).with_context(|| path)?;
    }
    Ok(total)
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
