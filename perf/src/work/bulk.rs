//! Bulk transfer by iperf3, client to server.

use super::{Figures, HOST_GB, PROXY_GB, RATE, Setting};
use crate::{cpu, pods::BULK};
use anyhow::{Context, Result};
use serde_json::Value;

/// Sends over `streams` connections.
pub(crate) fn run(setting: &Setting<'_>, streams: u32) -> Result<Figures> {
    let server = setting.pods.server_address(BULK);
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let (streams, seconds) = (streams.to_string(), setting.seconds.to_string());
    let argv = [
        "iperf3", "-J", "-c", &host, "-p", &port, "-P", &streams, "-t", &seconds,
    ];
    let (text, cpu) = cpu::spent(setting.proxies, || setting.pods.client().net.run(&argv))?;
    let (bytes, seconds) = received(&text)?;
    let gigabytes = bytes / 1e9;
    let mut figures = Figures::from([
        (RATE, gigabytes * 8.0 / seconds),
        (HOST_GB, cpu.host / gigabytes),
    ]);
    if !setting.proxies.is_empty() {
        figures.insert(PROXY_GB, cpu.proxies / gigabytes);
    }
    Ok(figures)
}

/// Bytes that the server received and in which time.
fn received(text: &str) -> Result<(f64, f64)> {
    let report: Value = serde_json::from_str(text).context("iperf3's report")?;
    let number = |path: &str| {
        report
            .pointer(path)
            .and_then(Value::as_f64)
            .with_context(|| format!("iperf3's report: no {path}"))
    };
    Ok((
        number("/end/sum_received/bytes")?,
        number("/end/sum_received/seconds")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_counts() {
        let text = r#"{"end":{"sum_sent":{"bytes":9,"seconds":1},"sum_received":{"bytes":8,"seconds":2.5}}}"#;
        assert_eq!(received(text).unwrap(), (8.0, 2.5));
        assert!(received(r#"{"error":"refused"}"#).is_err());
    }
}
