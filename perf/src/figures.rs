//! What a measurement found: figures by name. A name ends in its unit, and says by it whether less is better.

use crate::cpu::Cpu;
use std::collections::BTreeMap;

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Rate of a bulk transfer.
pub(crate) const RATE: &str = "rate Gb/s";
/// Requests (or new connections) a second.
pub(crate) const REQUESTS: &str = "requests /s";
/// Processor time of the machine for a GB.
pub(crate) const HOST_GB: &str = "host s/GB";
/// Processor time of the machine for a request.
pub(crate) const HOST_REQUEST: &str = "host us/request";
/// Median latency.
pub(crate) const P50: &str = "p50 us";
/// 99 of 100 requests are no slower.
pub(crate) const P99: &str = "p99 us";
/// 999 of 1000 requests are no slower.
pub(crate) const P999: &str = "p99.9 us";
/// Requests that the generator meant to send and that were not answered.
pub(crate) const UNSERVED: &str = "unserved";
/// How late the generator itself was, at its 99th percentile.
pub(crate) const LAG: &str = "generator late p99 us";
/// Memory of the proxies without connections.
pub(crate) const REST_MB: &str = "MB at rest";

/// What is done once and costs processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A gigabyte, in seconds.
    Gigabyte,
    /// A request, in microseconds.
    Request,
}

/// Adds what the machine and each proxy spent on each of `amount` units.
pub(crate) fn add_cost(figures: &mut Figures, cpu: &Cpu, amount: f64, unit: Unit) {
    let (scale, name) = match unit {
        Unit::Gigabyte => (1.0, "s/GB"),
        Unit::Request => (1e6, "us/request"),
    };
    let cost = |seconds: f64| seconds * scale / amount;
    figures.insert(format!("host {name}"), cost(cpu.host));
    if !cpu.each.is_empty() {
        figures.insert(format!("proxies {name}"), cost(cpu.proxies));
    }
    for (whose, seconds) in ["client's proxy", "server's proxy"].iter().zip(&cpu.each) {
        figures.insert(format!("{whose} {name}"), cost(*seconds));
    }
}

/// Whether more of a figure is better.
pub(crate) fn more_is_better(figure: &str) -> bool {
    figure.ends_with("/s")
}

/// A count as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests and bytes are small"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// Three digits that count, or all whole ones.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Figures on one line.
pub(crate) fn line(figures: &Figures) -> String {
    let parts: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name} {}", short(*value)))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_better_when_they_are_higher_and_costs_when_they_are_lower() {
        assert!(more_is_better(RATE) && more_is_better(REQUESTS));
        assert!(
            ![HOST_GB, HOST_REQUEST, P99, REST_MB]
                .iter()
                .any(|name| more_is_better(name))
        );
    }

    #[test]
    fn costs_are_told_by_process() {
        let cpu = Cpu {
            host: 4.0,
            proxies: 3.0,
            each: vec![1.0, 2.0],
        };
        let mut figures = Figures::new();
        add_cost(&mut figures, &cpu, 2.0, Unit::Gigabyte);
        assert_eq!(figures[HOST_GB], 2.0);
        assert_eq!(figures["server's proxy s/GB"], 1.0);
    }
}
