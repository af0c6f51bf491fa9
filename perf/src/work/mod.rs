//! The kinds of work that are measured, each a small type.

mod bulk;
mod crowd;
mod elephant;
mod idle;
mod memory;
pub(crate) mod names;
mod quiet;
mod requests;
mod syscalls;

pub(crate) use {
    bulk::Bulk,
    crowd::Crowd,
    elephant::Elephant,
    idle::Idle,
    memory::Memory,
    quiet::{Quiet, TOO_BUSY},
    requests::{Connect, Http, Open},
    syscalls::Syscalls,
};

use crate::{
    figures::Figures,
    latency::Latency,
    load::{Order, Shape},
    stage::{Body, HTTP, Place, Stage},
};
use anyhow::Result;

/// What one measurement needs to know.
pub(crate) struct Setting<'a> {
    /// Between whom.
    pub(crate) stage: &'a Stage,
    /// Where the server is.
    pub(crate) place: Place,
    /// Process ids of the proxies, the client's node's first.
    pub(crate) proxies: &'a [u32],
    /// How long.
    pub(crate) seconds: f64,
}

impl Setting<'_> {
    /// What a load generator is told.
    pub(crate) fn order(&self, body: Body, shape: Shape) -> Order {
        Order {
            target: self.stage.server(self.place, HTTP),
            path: format!("/{}", body.name()),
            size: body.size(),
            seconds: self.seconds,
            shape,
        }
    }
}

/// What one measurement found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) figures: Figures,
    pub(crate) latency: Option<Latency>,
}

impl From<Figures> for Found {
    fn from(figures: Figures) -> Self {
        Self {
            figures,
            latency: None,
        }
    }
}

/// One kind of work.
pub(crate) trait Work {
    /// As tables and files name it.
    fn name(&self) -> String;

    /// Does it.
    fn run(&self, setting: &Setting<'_>) -> Result<Found>;
}
