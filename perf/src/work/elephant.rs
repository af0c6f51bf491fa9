//! A thousand small requests a second on four connections, beside one stream of bulk between the same two pods.

use super::{Found, Setting, Work, bulk, names, requests};
use crate::{
    cpu,
    figures::RATE,
    load::{Child, Shape},
    stage::Body,
};
use anyhow::{Context, Result};
use std::{process::Stdio, thread, time::Duration};

/// Until the bulk is at full speed.
const HEAD_START: Duration = Duration::from_millis(500);

/// The small requests.
pub(crate) struct Elephant;

impl Work for Elephant {
    fn name(&self) -> String {
        names::ELEPHANT.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let shape = Shape::Open {
            connections: 4,
            rate: 1000.0,
        };
        let net = &setting.stage.client().net;
        let child = Child::start(net, &setting.order(Body::B64, shape))?;
        let longer = setting.seconds + 2.0 * HEAD_START.as_secs_f64();
        let bulk = net
            .command(&bulk::command(setting, 1, longer))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("iperf3")?;
        thread::sleep(HEAD_START);
        let (account, cpu) = cpu::spent(setting.proxies, || child.run())?;
        let output = bulk.wait_with_output()?;
        let (bytes, seconds) = bulk::received(&String::from_utf8_lossy(&output.stdout))?;
        let mut found = requests::open(account, &cpu);
        // Costs are those of both together, and mean nothing for one.
        found
            .figures
            .retain(|name, _| !name.ends_with("us/request"));
        found
            .figures
            .insert(RATE.into(), bytes * 8.0 / 1e9 / seconds);
        Ok(found)
    }
}
