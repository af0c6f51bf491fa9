//! A new connection for each request, in a closed loop: dial, ask, read until the server closes.

use super::{Account, Order, exchange, loops, wait_for_go};
use anyhow::{Result, ensure};
use std::time::Instant;
use tokio::io::AsyncReadExt as _;

pub(super) async fn run(order: &Order, at_once: usize) -> Result<Account> {
    one(order, &mut Vec::new()).await?;
    wait_for_go()?;
    loops::run(order, 0..at_once, |_, clock| {
        let order = order.clone();
        async move {
            let mut buffer = Vec::new();
            let mut served = 0;
            while clock.goes_on() {
                let sent = Instant::now();
                one(&order, &mut buffer).await?;
                clock.record(sent.elapsed());
                served += 1;
            }
            Ok(served)
        }
    })
    .await
}

async fn one(order: &Order, buffer: &mut Vec<u8>) -> Result<()> {
    let mut stream = exchange::connect(order.target).await?;
    exchange::exchange(
        &mut stream,
        &exchange::request(order, true),
        order.size,
        buffer,
    )
    .await?;
    // The server closes first, so that its side keeps the port that cannot be used again at once.
    ensure!(stream.read(buffer).await? == 0, "bytes behind the answer");
    Ok(())
}
