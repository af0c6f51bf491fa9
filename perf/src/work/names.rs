//! What work and its own figures are called in files, tables and targets.

/// Bulk transfer.
pub(crate) fn bulk(streams: u32) -> String {
    format!("bulk {streams}")
}

/// Requests in a closed loop.
pub(crate) fn http(connections: usize, body: &str) -> String {
    format!("http {connections} x {body}")
}

/// A mesh of many workloads.
pub(crate) fn catalogue(workloads: usize) -> String {
    format!("{workloads} workloads")
}

/// A new connection for each request.
pub(crate) const CONNECT: &str = "connect 16";
/// The open loop at half of the stock ztunnel's capacity.
pub(crate) const OPEN_HALF: &str = "open, half, 64";
/// The open loop far below anyone's capacity.
pub(crate) const OPEN_SLOW: &str = "open, 1000/s, 4";
/// The same, over a longer way.
pub(crate) const OPEN_DISTANT: &str = "open, 1000/s, 32";
/// Small requests beside bulk.
pub(crate) const ELEPHANT: &str = "1000/s beside bulk 1";
/// Many pods to one.
pub(crate) const CROWD: &str = "http, 8 pods to one";
/// Idle connections.
pub(crate) const IDLE: &str = "idle";
/// Nothing.
pub(crate) const QUIET: &str = "quiet";
/// Processors that are busy all the same.
pub(crate) const BUSY: &str = "busy processors";
/// Memory under load and after it.
pub(crate) const MEMORY: &str = "memory";

/// Memory of both proxies for one idle connection.
pub(crate) const IDLE_BYTES: &str = "bytes/connection";
/// Memory of a ztunnel that knows the mesh.
pub(crate) const CATALOGUE_MB: &str = "MB a ztunnel";
/// From the start of the ztunnels to the first answer.
pub(crate) const FIRST_USE: &str = "s to first use";
/// Processor time of one ztunnel for a pod that was replaced.
pub(crate) const CHANGE: &str = "ms CPU/replaced pod";
/// From when a service is written down to its first answer.
pub(crate) const FRESH: &str = "s to a new service";

/// Processor time of the L7 hop alone for a request.
pub(crate) const HOP_REQUEST: &str = "hop us/request";
/// Its memory after the load.
pub(crate) const HOP_MB: &str = "hop MB";

/// How requests come to the L7 hop and leave it, and how many routes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// HTTP/2 in mutual TLS in and out, or plain HTTP/1.1.
    pub(crate) tls: bool,
    pub(crate) routes: usize,
}

impl Hop {
    pub(crate) const ALL: [Self; 4] = [
        Self::new(false, 10),
        Self::new(false, 10_000),
        Self::new(true, 10),
        Self::new(true, 10_000),
    ];

    const fn new(tls: bool, routes: usize) -> Self {
        Self { tls, routes }
    }

    fn wire(self) -> &'static str {
        if self.tls { "mTLS" } else { "plain" }
    }

    /// As tables and files name it.
    pub(crate) fn name(self) -> String {
        format!("hop, {}, {} routes", self.wire(), self.routes)
    }

    /// The same way without the hop.
    pub(crate) fn without(self) -> String {
        format!("no hop, {}", self.wire())
    }

    /// As the list of targets names it.
    pub(crate) fn title(self) -> &'static str {
        match (self.tls, self.routes) {
            (false, 10) => "L7 hop, plain HTTP/1.1, 10 routes",
            (false, _) => "L7 hop, plain HTTP/1.1, 10,000 routes",
            (true, 10) => "L7 hop, HTTP/2 over mTLS, 10 routes",
            (true, _) => "L7 hop, HTTP/2 over mTLS, 10,000 routes",
        }
    }
}
