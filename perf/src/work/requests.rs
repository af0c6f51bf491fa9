//! Small requests: over kept connections, over new ones, and at a fixed rate.

use super::{Found, Setting, Work, names};
use crate::{
    cpu::{self, Cpu},
    figures::{Figures, LAG, P50, P99, P999, REQUESTS, UNSERVED, Unit, add_cost, number},
    load::{Account, Child, Shape},
    stage::Body,
};
use anyhow::{Result, ensure};

/// A closed loop over so many connections.
pub(crate) struct Http {
    pub(crate) connections: usize,
    pub(crate) body: Body,
}

impl Work for Http {
    fn name(&self) -> String {
        names::http(self.connections, self.body.name())
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let connections = self.connections;
        closed(setting, self.body, Shape::Closed { connections })
    }
}

/// A new connection for each request, sixteen at once.
pub(crate) struct Connect;

impl Work for Connect {
    fn name(&self) -> String {
        names::CONNECT.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        closed(setting, Body::B64, Shape::Connect { at_once: 16 })
    }
}

/// An open loop.
pub(crate) struct Open {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Requests a second.
    pub(crate) rate: f64,
}

impl Work for Open {
    fn name(&self) -> String {
        self.name.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let shape = Shape::Open {
            connections: self.connections,
            rate: self.rate,
        };
        let (account, cpu) = measure(setting, Body::B64, shape)?;
        Ok(open(account, &cpu))
    }
}

fn closed(setting: &Setting<'_>, body: Body, shape: Shape) -> Result<Found> {
    let (account, cpu) = measure(setting, body, shape)?;
    ensure!(account.served > 0, "no request was answered");
    let mut figures = common(&account, &cpu);
    figures.insert(P50.into(), account.latency.quantile(0.5));
    Ok(figures.into())
}

/// Figures and latencies of an open loop.
pub(super) fn open(account: Account, cpu: &Cpu) -> Found {
    let mut figures = common(&account, cpu);
    for (name, quantile) in [(P50, 0.5), (P99, 0.99), (P999, 0.999)] {
        figures.insert(name.into(), account.latency.quantile(quantile));
    }
    figures.insert("p90 us".into(), account.latency.quantile(0.9));
    figures.insert(LAG.into(), account.lag.quantile(0.99));
    figures.insert(UNSERVED.into(), number(account.intended - account.served));
    Found {
        figures,
        latency: Some(account.latency),
    }
}

fn common(account: &Account, cpu: &Cpu) -> Figures {
    let served = number(account.served);
    let mut figures = Figures::from([(REQUESTS.into(), served / account.seconds)]);
    add_cost(&mut figures, cpu, served.max(1.0), Unit::Request);
    figures
}

fn measure(setting: &Setting<'_>, body: Body, shape: Shape) -> Result<(Account, Cpu)> {
    let child = Child::start(&setting.stage.client().net, &setting.order(body, shape))?;
    cpu::spent(setting.proxies, || child.run())
}
