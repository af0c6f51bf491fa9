//! The waypoint beside Envoy as the L7 hop between a client and a server, with the same routes and one core each.
//!
//! Each is in the way as its users have it. With mutual TLS: a proxy at the client brings requests to the hop, and the hop
//! brings them to a proxy at the server; ztunnels around the waypoint (HBONE), two more Envoys around Envoy (HTTP/2).
//! Plain: both take HTTP/1.1 from the client and speak it to the server, and nothing else is in the way; the waypoint's
//! program is there as a Gateway. CPU and memory are those of the hop's process alone; its latency is what it adds to the
//! same way without it.

mod certificates;
mod config;
mod envoy;
mod waypoint;

use crate::{
    cpu,
    figures::{Figures, P50, P99, REQUESTS, number},
    load::{Account, Child, Order, Shape},
    memory,
    results::Sample,
    stage::{Body, Place, Stage},
    subject::{CULVERT, ENVOY},
    work::names::{HOP_MB, HOP_REQUEST, Hop},
};
use anyhow::{Context, Result, ensure};
use culvert_lab::Lab;
use std::{net::SocketAddr, path::Path};

pub(super) use envoy::fetch;

/// Far below what any of these ways can carry on two cores.
const RATE: f64 = 1000.0;

/// What all measurements of hops share.
struct Scene<'a> {
    lab: &'a Lab,
    stage: &'a Stage,
    seconds: f64,
}

/// What was measured: under which name, and what.
type Found = (String, Figures, Account);

/// All rounds.
pub(super) fn run(
    lab: &Lab,
    stage: &Stage,
    envoy: &Path,
    (rounds, seconds): (usize, f64),
) -> Result<Vec<Sample>> {
    let scene = Scene {
        lab,
        stage,
        seconds,
    };
    let mut samples = Vec::new();
    for round in 1..=rounds {
        for tls in [false, true] {
            let hops: Vec<Hop> = Hop::ALL.into_iter().filter(|hop| hop.tls == tls).collect();
            let ours = waypoint::run(&scene, &hops).context("waypoint")?;
            let theirs = envoy::run(&scene, envoy, &hops).context("Envoy")?;
            for (subject, found) in [(CULVERT, ours), (ENVOY, theirs)] {
                samples.extend(found.into_iter().map(|(work, figures, account)| Sample {
                    round,
                    place: Place::TwoNodes,
                    work,
                    subject: subject.to_owned(),
                    figures,
                    latency: Some(account.latency),
                }));
            }
        }
    }
    Ok(samples)
}

impl Scene<'_> {
    /// A closed loop for the cost, an open one for the latency; of the hop's process, if there is one.
    fn measure(&self, name: String, target: SocketAddr, hop: Option<u32>) -> Result<Found> {
        let closed = self.order(target, Shape::Closed { connections: 64 });
        let child = Child::start(&self.stage.client().net, &closed)?;
        let pids: Vec<u32> = hop.into_iter().collect();
        let (account, cpu) = cpu::spent(&pids, || child.run())?;
        ensure!(account.served > 0, "no request was answered");
        let served = number(account.served);
        let mut figures = Figures::from([(REQUESTS.into(), served / account.seconds)]);
        if !pids.is_empty() {
            figures.insert(HOP_REQUEST.into(), cpu.proxies * 1e6 / served);
            let memory = memory::settled(&pids)?;
            figures.insert(HOP_MB.into(), memory::megabytes(memory));
        }
        let shape = Shape::Open {
            connections: 16,
            rate: RATE,
        };
        let child = Child::start(&self.stage.client().net, &self.order(target, shape))?;
        let account = child.run()?;
        for (name, quantile) in [(P50, 0.5), (P99, 0.99)] {
            figures.insert(name.into(), account.latency.quantile(quantile));
        }
        eprintln!("  {name:<24} {}", crate::figures::line(&figures));
        Ok((name, figures, account))
    }

    fn order(&self, target: SocketAddr, shape: Shape) -> Order {
        Order {
            target,
            path: format!("/{}", Body::B64.name()),
            size: Body::B64.size(),
            seconds: self.seconds,
            shape,
        }
    }
}

/// Prefixes of paths: so many, and the one that requests have in the middle of them.
fn prefixes(routes: usize) -> Vec<String> {
    let mut all: Vec<String> = (1..routes).map(|i| format!("/none-{i:05}")).collect();
    all.insert(routes / 2, format!("/{}", Body::B64.name()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_prefixes_as_routes() {
        let all = prefixes(10);
        assert_eq!((all.len(), all[5].as_str()), (10, "/64B"));
    }
}
