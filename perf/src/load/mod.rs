//! The load generator, started inside a pod: requests in a closed loop, at a fixed rate, over new connections, or over
//! many that mostly idle.
//!
//! About coordinated omission: in an open loop every request has a moment at which it is meant to be sent, and its
//! latency counts from that moment, whether or not it could be sent then. A closed loop sends a request when the one
//! before was answered; its latencies say nothing about what a user would wait, and only its medians and costs are
//! compared.
//!
//! Protocol with who started it: `ready` on its output once connections are open, a line on its input to begin, then one
//! line of JSON. So that what is measured between the two is the load and nothing else.

mod child;
mod closed;
mod connect;
mod exchange;
mod hold;
mod loops;
mod open;

pub(crate) use child::Child;

use crate::latency::Latency;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, BufRead as _, Write as _},
    net::SocketAddr,
    process::{self, ExitCode},
    thread,
    time::Duration,
};

/// The process's arguments.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// An order as JSON.
    order: String,
}

/// What to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    /// An HTTP server.
    pub(crate) target: SocketAddr,
    /// What to ask it for.
    pub(crate) path: String,
    /// Length of a right answer's body.
    pub(crate) size: usize,
    /// For how long.
    pub(crate) seconds: f64,
    /// How.
    pub(crate) shape: Shape,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Shape {
    /// On each connection the next one when the last one was answered.
    Closed { connections: usize },
    /// So many a second, whatever happens to them, in turn over the connections.
    Open { connections: usize, rate: f64 },
    /// Each on a connection of its own, so many at once.
    Connect { at_once: usize },
    /// One on each connection, silence, and one again.
    Hold { connections: usize },
}

/// What became of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Account {
    /// Requests that were answered rightly.
    pub(crate) served: u64,
    /// Requests that should have been.
    pub(crate) intended: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
    /// Of the served ones; and of those that were given up, the time until then.
    pub(crate) latency: Latency,
    /// How late the generator itself was.
    pub(crate) lag: Latency,
}

/// How long a server may keep a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let order: Order = serde_json::from_str(&args.order)?;
    end_at_the_latest(order.seconds);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let account = runtime.block_on(async {
        match order.shape {
            Shape::Closed { connections } => closed::run(&order, connections).await,
            Shape::Open { connections, rate } => open::run(&order, connections, rate).await,
            Shape::Connect { at_once } => connect::run(&order, at_once).await,
            Shape::Hold { connections } => hold::run(&order, connections).await,
        }
    })?;
    println!("{}", serde_json::to_string(&account)?);
    Ok(ExitCode::SUCCESS)
}

/// Says that all is prepared, and waits for the word to begin.
fn wait_for_go() -> Result<()> {
    println!("ready");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("no word to begin")?;
    Ok(())
}

/// Whoever waits for this process need not have a deadline of its own.
fn end_at_the_latest(seconds: f64) {
    let end = Duration::from_secs_f64(seconds) + 4 * PATIENCE;
    thread::spawn(move || {
        thread::sleep(end);
        eprintln!("the load took too long");
        process::exit(3);
    });
}
