//! Requests by wrk in a closed loop: as many as there is room for.

use super::{Figures, HOST_REQUEST, P50, PROXY_REQUEST, REQUESTS, Setting};
use crate::cpu;
use anyhow::{Context, Result, ensure};

/// Whether a connection serves many requests or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Kept open.
    Kept,
    /// Opened for each request and closed after it.
    New,
}

/// Requests over `connections` at once.
pub(crate) fn run(setting: &Setting<'_>, connections: u32, kind: Connection) -> Result<Figures> {
    let (count, duration) = (connections.to_string(), format!("{}s", setting.seconds));
    let url = setting.pods.url();
    let mut argv = vec!["wrk", "-t", "1", "-c", &count, "-d", &duration, "--latency"];
    if kind == Connection::New {
        argv.extend(["-H", "Connection: close"]);
    }
    argv.push(&url);
    let (text, cpu) = cpu::spent(setting.proxies, || setting.pods.client().net.run(&argv))?;
    let result = parse(&text).with_context(|| text.clone())?;
    ensure!(
        result.failed == 0.0,
        "{} requests failed: {text}",
        result.failed
    );
    let mut figures = Figures::from([
        (REQUESTS, result.requests / result.seconds),
        (P50, result.p50),
        (HOST_REQUEST, cpu.host * 1e6 / result.requests),
    ]);
    if !setting.proxies.is_empty() {
        figures.insert(PROXY_REQUEST, cpu.proxies * 1e6 / result.requests);
    }
    Ok(figures)
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    requests: f64,
    seconds: f64,
    /// Microseconds.
    p50: f64,
    failed: f64,
}

/// Reads wrk's text. Without a line about errors there were none.
fn parse(text: &str) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    for line in text.lines().map(str::trim) {
        if let Some(value) = line.strip_prefix("50%") {
            outcome.p50 = time(value.trim())?;
        } else if let Some((requests, rest)) = line.split_once(" requests in ") {
            outcome.requests = requests.parse().ok()?;
            outcome.seconds = time(rest.split(',').next()?)? / 1e6;
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            outcome.failed += count.trim().parse::<f64>().ok()?;
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            let counts = counts
                .split(',')
                .filter_map(|part| part.split_whitespace().last());
            outcome.failed += counts
                .filter_map(|count| count.parse::<f64>().ok())
                .sum::<f64>();
        }
    }
    (outcome.requests > 0.0 && outcome.seconds > 0.0 && outcome.p50 > 0.0).then_some(outcome)
}

/// Microseconds in wrk's notation: `850.00us`, `1.70ms`, `2.01s`, `1.10m`.
fn time(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let scale = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 4s test @ http://10.12.0.10:8080/\n  Latency Distribution\n     50%    1.70ms\n     \
                        75%    2.00ms\n  138000 requests in 4.00s, 33.00MB read\nRequests/sec:  34500.00\n";

    #[test]
    fn the_text_of_wrk_is_understood() {
        let outcome = parse(TEXT).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                requests: 138_000.0,
                seconds: 4.0,
                p50: 1700.0,
                failed: 0.0
            }
        );
        assert_eq!(parse("Running 4s test\n"), None);
    }

    #[test]
    fn failures_are_counted() {
        let text = format!(
            "{TEXT}  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\n"
        );
        assert_eq!(parse(&text).unwrap().failed, 10.0);
    }
}
