//! Check 4: a protocol that the mesh knows nothing of passes unharmed.

use crate::demo::{
    checks::Evidence,
    stage::{NAMESPACE, Stage},
};
use anyhow::{Context, Result, ensure};
use culvert_lab::{objects::Port, wait};

const COUNT: u32 = 500;
const PORT: u16 = 6379;

pub(crate) fn run(stage: &mut Stage<'_>) -> Result<Evidence> {
    if stage.sabotaged(4) {
        let port = Port {
            app_protocol: "http",
            ..Port::same(PORT)
        };
        stage.put_service("redis", port, &[("culvert.dev/use-waypoint", "waypoint")])?;
        wait::until_true("redis to be sent through the waypoint", || {
            ping(stage).is_err()
        })?;
    }
    let outcome = talk(stage);
    if stage.sabotaged(4) {
        stage.put_service("redis", Port::same(PORT), &[])?;
        wait::until_true("redis to be reached directly", || ping(stage).is_ok())?;
    }
    outcome
}

fn ping(stage: &Stage<'_>) -> Result<String> {
    stage
        .pods
        .client
        .net
        .run(&["timeout", "3", "redis-cli", "-e", "-h", "redis", "PING"])
}

fn talk(stage: &Stage<'_>) -> Result<Evidence> {
    let client = &stage.pods.client.net;
    let pong = ping(stage)?;
    ensure!(pong.trim() == "PONG", "PING was answered with {pong}");
    let count = COUNT.to_string();
    let counted = client.run(&[
        "redis-cli",
        "-e",
        "-h",
        "redis",
        "-r",
        &count,
        "INCR",
        "visits",
    ])?;
    let last = counted.split_whitespace().last().unwrap_or_default();
    ensure!(last == count, "after {COUNT} INCR the counter was {last}");
    let list = client.run(&["redis-cli", "-e", "-h", "redis", "CLIENT", "LIST"])?;
    let seen = list
        .split_whitespace()
        .find_map(|field| field.strip_prefix("addr="))
        .context("no client in the list")?;
    let ip = stage.pods.client.ip();
    ensure!(
        seen.starts_with(&format!("{ip}:")),
        "redis saw {seen}, not the client's address {ip}"
    );
    Ok(vec![
        format!(
            "redis-cli of {}: PING, then {COUNT} INCR on one connection to redis.{NAMESPACE}",
            stage.pods.client.name
        ),
        format!("redis saw the client's own address: {seen}"),
    ])
}
