//! Many pods to one: a closed loop of 1 KB answers in each pod of the crowd at once.

use super::{Found, Setting, Work, names};
use crate::{
    cpu,
    figures::{Figures, P50, REQUESTS, Unit, add_cost, number},
    latency::Latency,
    load::{Account, Child, Shape},
    stage::Body,
};
use anyhow::{Result, ensure};

/// Connections of each pod.
const EACH: usize = 8;

/// Every pod of the crowd.
pub(crate) struct Crowd;

impl Work for Crowd {
    fn name(&self) -> String {
        names::CROWD.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let order = setting.order(Body::K1, Shape::Closed { connections: EACH });
        let pods = setting.stage.crowd().iter();
        let mut children = pods
            .map(|pod| Child::start(&pod.net, &order))
            .collect::<Result<Vec<_>>>()?;
        ensure!(!children.is_empty(), "there is no crowd");
        let (accounts, cpu) = cpu::spent(setting.proxies, || {
            children.iter_mut().try_for_each(Child::begin)?;
            children
                .drain(..)
                .map(Child::account)
                .collect::<Result<Vec<Account>>>()
        })?;
        let mut latency = Latency::default();
        let (mut served, mut rate) = (0.0, 0.0);
        for account in accounts {
            latency.add(&account.latency);
            served += number(account.served);
            rate += number(account.served) / account.seconds;
        }
        let mut figures =
            Figures::from([(REQUESTS.into(), rate), (P50.into(), latency.quantile(0.5))]);
        add_cost(&mut figures, &cpu, served, Unit::Request);
        Ok(figures.into())
    }
}
