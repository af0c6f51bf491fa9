//! A new connection for each request, in a closed loop: dial, ask, read until the server closes.

use super::{Account, Order, exchange, wait_for_go};
use crate::latency::Latency;
use anyhow::{Result, ensure};
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt as _, task::LocalSet};

pub(super) async fn run(order: &Order, at_once: usize) -> Result<Account> {
    one(order, &mut Vec::new()).await?;
    wait_for_go()?;
    let latency = Rc::new(RefCell::new(Latency::default()));
    let (begin, limit) = (Instant::now(), Duration::from_secs_f64(order.seconds));
    let tasks = LocalSet::new();
    let loops: Vec<_> = (0..at_once)
        .map(|_| {
            let (order, latency) = (order.clone(), Rc::clone(&latency));
            tasks.spawn_local(async move {
                let mut buffer = Vec::new();
                let mut served = 0;
                while begin.elapsed() < limit {
                    let sent = Instant::now();
                    one(&order, &mut buffer).await?;
                    latency.borrow_mut().record(sent.elapsed());
                    served += 1;
                }
                anyhow::Ok(served)
            })
        })
        .collect();
    let mut account = Account::default();
    tasks
        .run_until(async {
            for each in loops {
                account.served += each.await??;
            }
            anyhow::Ok(())
        })
        .await?;
    account.seconds = begin.elapsed().as_secs_f64();
    account.intended = account.served;
    account.latency = latency.take();
    Ok(account)
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
