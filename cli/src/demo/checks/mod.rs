//! The nine checks, each in a file of its own: what it shows, on which traffic, and what breaks it.
//!
//! Invariant: a check leaves the stage as the next one expects it, whether it passed or not.

mod clear;
mod crash;
mod denial;
mod encryption;
mod identity;
mod redis;
mod resilience;
mod splitting;
mod unlabelling;

use crate::demo::stage::Stage;
use anyhow::Result;

/// What a check found, line by line.
pub(crate) type Evidence = Vec<String>;

/// A check of the demo.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What `--sabotage` does to it.
    pub(crate) sabotage: &'static str,
    pub(crate) run: fn(&mut Stage<'_>) -> Result<Evidence>,
}

/// All of them, in order.
pub(crate) const CHECKS: [Check; 9] = [
    Check {
        number: 1,
        name: "clear",
        title: "before labelling, a marker crosses the link in the clear",
        sabotage: "the namespace is labelled too early",
        run: clear::run,
    },
    Check {
        number: 2,
        name: "encryption",
        title: "labelled, the same programs talk over mutual TLS and the marker is gone",
        sabotage: "the client's pod has no capture rules",
        run: encryption::run,
    },
    Check {
        number: 3,
        name: "identity",
        title: "the server's side names the client's identity",
        sabotage: "the client's pod excludes port 80 from capture",
        run: identity::run,
    },
    Check {
        number: 4,
        name: "redis",
        title: "redis, a server that is no HTTP, works",
        sabotage: "its service is declared HTTP and sent through the waypoint",
        run: redis::run,
    },
    Check {
        number: 5,
        name: "denial",
        title: "a policy denies one client and ends its live connection; STRICT refuses plaintext",
        sabotage: "the policy names another service account, and the mode is PERMISSIVE",
        run: denial::run,
    },
    Check {
        number: 6,
        name: "splitting",
        title: "a waypoint sends 90/10 to two versions, then by header",
        sabotage: "the weights are 50/50, and no rule looks at the header",
        run: splitting::run,
    },
    Check {
        number: 7,
        name: "resilience",
        title: "retries hide a backend's 503s; a fault delays and aborts its share",
        sabotage: "no retries",
        run: resilience::run,
    },
    Check {
        number: 8,
        name: "crash",
        title: "without ztunnel traffic fails rather than leaks, and comes back with it",
        sabotage: "the client's rules go when its ztunnel does",
        run: crash::run,
    },
    Check {
        number: 9,
        name: "unlabelling",
        title: "unlabelling restores plain traffic",
        sabotage: "the label stays",
        run: unlabelling::run,
    },
];
