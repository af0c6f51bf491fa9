//! What a run of the simulation came to, for people and for programs.

use super::{churn::Outcome, marks::Kind, usage::Memory, watch::Account};
use crate::machine::Machine;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// Highest p99 in seconds, the controller's memory in megabytes, and kilobytes for each workload.
const AIMS: (f64, f64, f64) = (1.0, 1536.0, 0.6);
/// With so many workloads, they are most of what a client takes.
const MANY: usize = 20_000;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<&'static str, String>,
    pub(crate) pods: usize,
    pub(crate) services: usize,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    /// Services that each client asks for; none: all of the mesh.
    pub(crate) on_demand: Option<usize>,
    pub(crate) rate: usize,
    pub(crate) churn: Outcome,
    /// From the controller's start until it served.
    pub(crate) controller_ready_seconds: f64,
    /// Until all clients had all.
    pub(crate) clients_synced_seconds: f64,
    /// Processor seconds for each second, while nothing changed and under churn.
    pub(crate) cpu_idle: BTreeMap<&'static str, f64>,
    pub(crate) cpu_churn: BTreeMap<&'static str, f64>,
    pub(crate) memory: BTreeMap<&'static str, Memory>,
    /// Of one client on average.
    pub(crate) resources_a_client: f64,
    pub(crate) resource_bytes_a_client: f64,
    /// Bytes of responses for each replaced pod and client.
    pub(crate) response_bytes_a_replacement: f64,
    pub(crate) responses_a_client: f64,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) store: Account,
    pub(crate) fresh: Account,
    pub(crate) load_average: String,
}

/// Of one kind of change, over all clients, in seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) what: &'static str,
    pub(crate) writes: usize,
    pub(crate) samples: u64,
    /// Every client saw every write.
    pub(crate) complete: bool,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    pub(crate) fn new(kind: Kind, writes: usize, expected: u64, seen: &Histogram<u64>) -> Self {
        let seconds = |micros: u64| micros as f64 / 1e6;
        Self {
            what: kind.text(),
            writes,
            samples: seen.len(),
            complete: seen.len() == expected,
            p50: seconds(seen.value_at_quantile(0.5)),
            p99: seconds(seen.value_at_quantile(0.99)),
            max: seconds(seen.max()),
        }
    }
}

impl Report {
    /// What is not as it must be: clients that know something else than a fresh one, or changes that never came.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let known =
            |account: &Account| (account.workloads, account.services, account.digest.clone());
        if known(&self.store) != known(&self.fresh) {
            wrong.push("the store differs from that of a fresh client".to_owned());
        }
        if self.on_demand.is_none() {
            for latency in self.latencies.iter().filter(|latency| !latency.complete) {
                wrong.push(format!(
                    "{}: some clients never saw some changes",
                    latency.what
                ));
            }
        }
        wrong
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            processor,
            cores,
            kernel,
            ..
        } = &self.machine;
        writeln!(
            f,
            "{processor}, {cores} cores, Linux {kernel}; load average {}",
            self.load_average
        )?;
        for (name, version) in &self.versions {
            writeln!(f, "{name}: {version}")?;
        }
        let Outcome { replaced, seconds } = self.churn;
        write!(
            f,
            "{} pods, {} services, {} nodes, {} clients",
            self.pods, self.services, self.nodes, self.clients
        )?;
        match self.on_demand {
            Some(services) => writeln!(f, ", each asking for {services} services")?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "{replaced} pods replaced in {seconds:.1} s ({} a second were asked for)",
            self.rate
        )?;
        writeln!(
            f,
            "controller ready after {:.1} s, all clients after {:.1} s more",
            self.controller_ready_seconds, self.clients_synced_seconds
        )?;
        self.processes(f)?;
        self.times(f)?;
        self.clients(f)?;
        self.verdict(f)
    }
}

impl Report {
    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<16} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "process", "cpu idle", "cpu churn", "RSS MB", "peak MB", "PSS MB"
        )?;
        for (name, churn) in &self.cpu_churn {
            let idle = self.cpu_idle.get(name).copied().unwrap_or_default();
            write!(f, "{name:<16} {idle:>9.2} {churn:>9.2}")?;
            if let Some(Memory {
                rss_mb,
                peak_rss_mb,
                pss_mb,
            }) = self.memory.get(name)
            {
                write!(f, " {rss_mb:>9.0} {peak_rss_mb:>9.0} {pss_mb:>9.0}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<26} {:>8} {:>9} {:>8} {:>8} {:>8}",
            "time to all clients", "writes", "samples", "p50 s", "p99 s", "max s"
        )?;
        for Latency {
            what,
            writes,
            samples,
            p50,
            p99,
            max,
            ..
        } in &self.latencies
        {
            writeln!(
                f,
                "{what:<26} {writes:>8} {samples:>9} {p50:>8.3} {p99:>8.3} {max:>8.3}"
            )?;
        }
        Ok(())
    }

    fn clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\neach client: {:.0} resources of {:.0} bytes in {:.0} responses; {:.0} bytes on the wire for each replaced pod",
            self.resources_a_client,
            self.resource_bytes_a_client / self.resources_a_client.max(1.0),
            self.responses_a_client,
            self.response_bytes_a_replacement
        )?;
        let Account {
            workloads,
            services,
            rss_mb,
            empty_rss_mb,
            ..
        } = &self.store;
        writeln!(
            f,
            "a store of {workloads} workloads and {services} services: {:.1} MB ({:.2} KB a workload; {:.2} KB in a fresh one, {:.1} MB at its peak)",
            rss_mb - empty_rss_mb,
            self.store.kb_a_workload(),
            self.fresh.kb_a_workload(),
            self.fresh.peak_rss_mb - self.fresh.empty_rss_mb,
        )
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p99 = self.latencies.iter().map(|l| l.p99).fold(0.0, f64::max);
        let controller = self
            .memory
            .get("controller")
            .map_or(0.0, |memory| memory.peak_rss_mb);
        let aim = |f: &mut fmt::Formatter<'_>, what: &str, value: f64, most: f64| {
            writeln!(
                f,
                "aim {}: {what} {value:.2} of {most:.2}",
                if value < most { "reached" } else { "MISSED" }
            )
        };
        aim(f, "p99 in seconds", p99, AIMS.0)?;
        aim(f, "controller's peak in MB", controller, AIMS.1)?;
        if self.fresh.workloads >= MANY {
            aim(f, "KB a workload", self.fresh.kb_a_workload(), AIMS.2)?;
        } else {
            writeln!(
                f,
                "KB a workload is judged from {MANY} workloads on: of fewer, what a client takes by itself is most"
            )?;
        }
        let wrong = self.wrong();
        if wrong.is_empty() {
            writeln!(
                f,
                "the store is as that of a fresh client, and every client saw every change"
            )?;
        }
        wrong
            .iter()
            .try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))
    }
}
