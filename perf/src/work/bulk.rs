//! Bulk transfer by iperf3, client to server.

use super::{Found, Setting, Work, names};
use crate::{
    cpu,
    figures::{Figures, RATE, Unit, add_cost},
    stage::BULK,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Over so many connections.
pub(crate) struct Bulk(pub(crate) u32);

impl Work for Bulk {
    fn name(&self) -> String {
        names::bulk(self.0)
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let argv = command(setting, self.0, setting.seconds);
        let client = &setting.stage.client().net;
        let (text, cpu) = cpu::spent(setting.proxies, || client.run(&argv))?;
        let (bytes, seconds) = received(&text)?;
        let gigabytes = bytes / 1e9;
        let mut figures = Figures::from([(RATE.into(), gigabytes * 8.0 / seconds)]);
        add_cost(&mut figures, &cpu, gigabytes, Unit::Gigabyte);
        Ok(figures.into())
    }
}

/// iperf3's command line, in the client's pod.
pub(super) fn command(setting: &Setting<'_>, streams: u32, seconds: f64) -> Vec<String> {
    let server = setting.stage.server(setting.place, BULK);
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let (streams, seconds) = (streams.to_string(), seconds.ceil().to_string());
    let words = [
        "iperf3", "-J", "-c", &host, "-p", &port, "-P", &streams, "-t", &seconds,
    ];
    words.map(str::to_owned).to_vec()
}

/// Bytes that the server received and in which time.
pub(super) fn received(text: &str) -> Result<(f64, f64)> {
    let report: Value = serde_json::from_str(text).context("iperf3's report")?;
    if let Some(error) = report.get("error") {
        bail!("iperf3: {error}");
    }
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
