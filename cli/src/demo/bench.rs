//! The closing table: latency and throughput of the same two pods with the mesh off, at layer 4, and with a waypoint.

use crate::{
    demo::{
        client,
        route::{URL, route, use_waypoint, wait_in_force, weights},
        stage::Stage,
    },
    table::Table,
};
use anyhow::{Context, Result};
use culvert_lab::{Pod, objects::Port};

const CONNECTIONS: &str = "32";

/// One line of the table.
#[derive(Debug)]
struct Figures {
    p50: String,
    p99: String,
    requests: String,
    bulk: f64,
}

/// Measures all three; leaves the namespace labelled.
pub(crate) fn run(stage: &mut Stage<'_>) -> Result<String> {
    let direct = client::url(&stage.pods.web_v1);
    stage.put_service("shop", Port::same(80), &[])?;
    stage.release()?;
    let client = stage.pods.client.clone();
    let off = measure(&client, &direct)?;
    stage.enrol()?;
    let layer4 = measure(&client, &direct)?;
    use_waypoint(stage)?;
    let layer7 = stage.with_object("shop", &route("measured", &weights(1, 0)), |stage| {
        wait_in_force(stage, "measured")?;
        measure(&client, URL.trim_end_matches('/'))
    })?;

    let requests = format!("requests/s ({CONNECTIONS} conns)");
    let mut table = Table::new(&[
        "MESH",
        "P50 (1 conn)",
        "P99 (1 conn)",
        &requests,
        "bulk (1 conn)",
    ]);
    for (name, figures) in [
        ("off", off),
        ("layer 4", layer4),
        ("layer 4 + waypoint", layer7),
    ] {
        table.row([
            name.to_owned(),
            figures.p50,
            figures.p99,
            figures.requests,
            format!("{:.2} Gbit/s", figures.bulk * 8.0 / 1e9),
        ]);
    }
    Ok(table.to_string())
}

fn measure(client: &Pod, base: &str) -> Result<Figures> {
    let url = format!("{base}/fast");
    let one = wrk(client, &["-t1", "-c1", "-d1s", "--latency", &url])?;
    let many = wrk(client, &["-t1", &format!("-c{CONNECTIONS}"), "-d2s", &url])?;
    let bulk = format!("{base}/bulk");
    let argv = [
        "curl",
        "-sS",
        "-f",
        "-m",
        "20",
        "-o",
        "/dev/null",
        "-w",
        "%{speed_download}",
        &bulk,
    ];
    Ok(Figures {
        p50: field(&one, "50%")?,
        p99: field(&one, "99%")?,
        requests: field(&many, "Requests/sec:")?,
        bulk: client.net.run(&argv)?.trim().parse()?,
    })
}

fn wrk(client: &Pod, arguments: &[&str]) -> Result<String> {
    client.net.run(&[&["wrk"], arguments].concat())
}

/// The word after `name` at the beginning of a line.
fn field(output: &str, name: &str) -> Result<String> {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix(name));
    let line = line.with_context(|| format!("no `{name}` in what wrk printed: {output}"))?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_wrk_prints() {
        let output = "  Latency Distribution\n     50%   96.00us\n     99%  181.00us\nRequests/sec:   9874.48\n";
        assert_eq!(field(output, "99%").unwrap(), "181.00us");
        assert_eq!(field(output, "Requests/sec:").unwrap(), "9874.48");
        assert!(field(output, "75%").is_err());
    }
}
