//! Requests in a closed loop over connections that stay open.

use super::{Account, Order, exchange, wait_for_go};
use crate::latency::Latency;
use anyhow::{Context, Result};
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::LocalSet;

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
    let latency = Rc::new(RefCell::new(Latency::default()));
    let (begin, limit) = (Instant::now(), Duration::from_secs_f64(order.seconds));
    let tasks = LocalSet::new();
    let loops: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let (request, latency) = (request.clone(), Rc::clone(&latency));
            tasks.spawn_local(async move {
                let mut buffer = Vec::new();
                let mut served = 0;
                let mut sent = Instant::now();
                while begin.elapsed() < limit {
                    exchange::exchange(&mut stream, &request, size, &mut buffer).await?;
                    let now = Instant::now();
                    latency.borrow_mut().record(now - sent);
                    sent = now;
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
