//! Requests in a closed loop over connections that stay open.

use super::{Account, Order, exchange, loops, wait_for_go};
use anyhow::{Context, Result};
use std::time::Instant;

pub(super) async fn run(order: &Order, connections: usize) -> Result<Account> {
    let request = exchange::request(order, false);
    let size = order.size;
    let mut streams = Vec::new();
    for i in 0..connections {
        let opened = async {
            let mut stream = exchange::connect(order.target).await?;
            exchange::exchange_within(super::PATIENCE, &mut stream, &request, size).await?;
            anyhow::Ok(stream)
        };
        streams.push(opened.await.with_context(|| format!("connection {i}"))?);
    }
    wait_for_go()?;
    loops::run(order, streams, |mut stream, clock| {
        let request = request.clone();
        async move {
            let mut buffer = Vec::new();
            let mut served = 0;
            let mut sent = Instant::now();
            while clock.goes_on() {
                exchange::exchange(&mut stream, &request, size, &mut buffer).await?;
                let now = Instant::now();
                clock.record(now - sent);
                sent = now;
                served += 1;
            }
            Ok(served)
        }
    })
    .await
}
