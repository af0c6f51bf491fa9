//! The kinds of work that are measured.

use crate::pods::Pods;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

mod bulk;
mod http;
mod memory;

/// Figures by name; the name ends in the unit.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Rate of a bulk transfer.
pub(crate) const RATE: &str = "rate Gb/s";
/// Processor time of the machine for a GB.
pub(crate) const HOST_GB: &str = "host s/GB";
/// Processor time of the proxies for a GB.
pub(crate) const PROXY_GB: &str = "proxies s/GB";
/// Requests (or new connections) a second.
pub(crate) const REQUESTS: &str = "requests /s";
/// Processor time of the machine for a request.
pub(crate) const HOST_REQUEST: &str = "host us/request";
/// Processor time of the proxies for a request.
pub(crate) const PROXY_REQUEST: &str = "proxies us/request";
/// Median latency.
pub(crate) const P50: &str = "p50 us";
/// Memory of both proxies for one idle connection.
pub(crate) const MEMORY: &str = "bytes/connection";
/// Memory of both proxies without connections.
pub(crate) const MEMORY_BASE: &str = "MB at rest";

/// What one measurement needs to know.
pub(crate) struct Setting<'a> {
    /// Between whom.
    pub(crate) pods: &'a Pods,
    /// Process ids of the proxies.
    pub(crate) proxies: &'a [u32],
    /// How long.
    pub(crate) seconds: u32,
    /// How many idle connections.
    pub(crate) idle: usize,
}

/// What one measurement found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// From 1.
    pub(crate) round: usize,
    /// Whose way the bytes went.
    pub(crate) subject: &'static str,
    /// What was done.
    pub(crate) work: String,
    /// What was found.
    pub(crate) figures: Figures,
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Idle connections that have each carried one request.
    Memory,
    /// Bulk transfer over this many connections.
    Bulk(u32),
    /// Requests in a closed loop over this many connections that stay open.
    Http(u32),
    /// The same with a new connection for each request.
    NewConnections(u32),
}

/// All work, in the order in which it is done: memory first, while the proxies are fresh.
pub(crate) fn all() -> Vec<Work> {
    use Work::{Bulk, Http, Memory, NewConnections};
    vec![
        Memory,
        Bulk(1),
        Bulk(4),
        Bulk(16),
        Http(1),
        Http(16),
        Http(64),
        NewConnections(16),
    ]
}

impl Work {
    /// As tables and files name it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Memory => "idle".into(),
            Self::Bulk(streams) => format!("bulk {streams}"),
            Self::Http(connections) => format!("http {connections}"),
            Self::NewConnections(connections) => format!("connect {connections}"),
        }
    }

    /// Does it.
    pub(crate) fn run(self, setting: &Setting<'_>) -> Result<Figures> {
        match self {
            Self::Memory => memory::run(setting),
            Self::Bulk(streams) => bulk::run(setting, streams),
            Self::Http(connections) => http::run(setting, connections, http::Connection::Kept),
            Self::NewConnections(connections) => {
                http::run(setting, connections, http::Connection::New)
            }
        }
    }
}
