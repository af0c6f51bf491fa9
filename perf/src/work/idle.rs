//! Memory of idle connections: the proxies' share of physical memory with many connections that have each carried one
//! request and stay open, less the same with none. Each must carry another request afterwards.

use super::{Found, Setting, Work, names};
use crate::{
    figures::{Figures, REST_MB, number},
    load::{Child, Shape},
    memory,
    stage::Body,
};
use anyhow::{Result, ensure};

/// So many connections, one after the other; the figure for one connection is that of the last.
pub(crate) struct Idle(pub(crate) Vec<usize>);

impl Work for Idle {
    fn name(&self) -> String {
        names::IDLE.into()
    }

    fn run(&self, setting: &Setting<'_>) -> Result<Found> {
        let mut figures = Figures::new();
        // What the first connections of a process make and keep is not memory of an idle connection.
        hold(setting, 1)?;
        let before = memory::settled(setting.proxies)?;
        figures.insert(REST_MB.into(), memory::megabytes(before));
        for count in &self.0 {
            let after = hold(setting, *count)?;
            figures.insert(format!("MB with {count} idle"), memory::megabytes(after));
            let grown = number(after) - number(before);
            figures.insert(
                names::IDLE_BYTES.into(),
                grown / number((*count).max(1) as u64),
            );
        }
        Ok(figures.into())
    }
}

/// The proxies' memory while so many connections are open.
fn hold(setting: &Setting<'_>, connections: usize) -> Result<u64> {
    let order = setting.order(Body::B64, Shape::Hold { connections });
    let child = Child::start(&setting.stage.client().net, &order)?;
    let memory = memory::settled(setting.proxies)?;
    let account = child.run()?;
    ensure!(
        account.served == account.intended,
        "of {} idle connections {} still work",
        account.intended,
        account.served
    );
    Ok(memory)
}
