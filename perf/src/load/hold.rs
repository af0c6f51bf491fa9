//! Connections that have each carried a request, stay silent while whoever ordered them looks at memory, and must each
//! carry another one afterwards.

use super::{Account, Order, PATIENCE, exchange, wait_for_go};
use anyhow::{Context, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::time::Instant;
use tokio::net::TcpStream;

/// Dials, or requests, under way together.
const AT_ONCE: usize = 64;

pub(super) async fn run(order: &Order, connections: usize) -> Result<Account> {
    let request = exchange::request(order, false);
    let (request, size) = (request.as_slice(), order.size);
    let open = |i: usize| async move {
        let mut stream = exchange::connect(order.target).await?;
        ask(&mut stream, request, size)
            .await
            .with_context(|| format!("connection {i} of {connections}"))?;
        anyhow::Ok(stream)
    };
    let streams: Vec<TcpStream> = stream::iter((0..connections).map(open))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    wait_for_go()?;
    let begin = Instant::now();
    let again =
        |mut stream: TcpStream| async move { ask(&mut stream, request, size).await.is_ok() };
    let served = stream::iter(streams.into_iter().map(again))
        .buffer_unordered(AT_ONCE)
        .filter(|served| std::future::ready(*served))
        .count()
        .await;
    Ok(Account {
        served: served as u64,
        intended: connections as u64,
        seconds: begin.elapsed().as_secs_f64(),
        ..Account::default()
    })
}

async fn ask(stream: &mut TcpStream, request: &[u8], size: usize) -> Result<()> {
    exchange::exchange_within(PATIENCE, stream, request, size).await
}
