//! Memory of the proxies at rest, at its greatest under load, and some time after the load has ended.

use super::{Found, Setting, Work, bulk, names};
use crate::{
    figures::{Figures, REST_MB},
    load::{Child, Shape},
    memory,
    stage::Body,
};
use anyhow::Result;
use std::{thread, time::Duration};

const INTERVAL: Duration = Duration::from_millis(200);

/// How long after the load memory is read again.
pub(crate) struct Memory {
    pub(crate) after: Duration,
}

impl Work for Memory {
    fn name(&self) -> String {
        names::MEMORY.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let rest = memory::settled(setting.proxies)?;
        let load = thread::scope(|scope| {
            let load = scope.spawn(|| load(setting));
            let mut most = rest;
            while !load.is_finished() {
                most = most.max(memory::share(setting.proxies)?);
                thread::sleep(INTERVAL);
            }
            load.join()
                .unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
            anyhow::Ok(most)
        })?;
        thread::sleep(self.after);
        let after = memory::share(setting.proxies)?;
        Ok(Figures::from([
            (REST_MB.into(), memory::megabytes(rest)),
            ("MB under load".into(), memory::megabytes(load)),
            (
                format!("MB {} s after", self.after.as_secs()),
                memory::megabytes(after),
            ),
        ])
        .into())
    }
}

/// Large answers over many connections, then bulk over some.
fn load(setting: &Setting<'_>) -> Result<()> {
    let order = setting.order(Body::K64, Shape::Closed { connections: 256 });
    Child::start(&setting.stage.client().net, &order)?.run()?;
    let bulk = bulk::command(setting, 16, setting.seconds);
    setting.stage.client().net.run(&bulk)?;
    Ok(())
}
