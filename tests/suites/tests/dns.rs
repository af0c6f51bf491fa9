//! Names: those of the mesh are answered at the pod, all others by the resolver that the pod asked.

use anyhow::{Result, ensure};
use culvert_lab::{MeshOptions, Pod, objects};
use culvert_suites::{Fixture, VIP4, VIP6, client, port};
use std::io::{Read, Write};

/// What `getent` in the pod resolves a name to.
fn lookup(pod: &Pod, database: &str, name: &str) -> Result<Vec<String>> {
    let output = pod.net.exec(&["getent", database, name])?;
    let mut found: Vec<_> = output
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// The name leads to the service's addresses, one of each family.
fn resolves(pod: &Pod, name: &str) -> Result<()> {
    for (database, vip) in [("ahostsv4", VIP4), ("ahostsv6", VIP6)] {
        let found = lookup(pod, database, name)?;
        ensure!(found == [vip.to_string()], "{name}: {found:?}");
    }
    Ok(())
}

/// A query for an A record over TCP to `resolver`: the answer's response code and number of answers.
fn over_tcp(pod: &Pod, resolver: std::net::IpAddr, name: &str) -> Result<(u8, u16)> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut stream = client::connect(pod, resolver, 53)?;
    stream.write_all(&u16::try_from(query.len())?.to_be_bytes())?;
    stream.write_all(&query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    ensure!(
        answer[..2] == [0x12, 0x34],
        "the answer to another question"
    );
    Ok((answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]])))
}

#[test]
fn names_of_the_mesh_need_no_resolver_and_others_reach_theirs() {
    culvert_lab::test(
        "names_of_the_mesh_need_no_resolver_and_others_reach_theirs",
        |lab| {
            let mut fixture = Fixture::start(lab, MeshOptions::default())?;
            let before = fixture.descriptors()?;
            let headless = objects::service(
                "demo",
                "headless",
                "server",
                &[],
                &[objects::Port::same(port::ECHO)],
                &[],
            );
            fixture.mesh.put(
                "headless",
                &headless.replace("spec:\n", "spec:\n  clusterIP: None\n"),
            )?;
            fixture
                .mesh
                .wait_ztunnel_state("n1", "the headless service", |dump| {
                    dump["services"].to_string().contains("headless.demo")
                })?;
            let client = &fixture.client;
            for name in ["server", "SERVER.demo.svc.cluster.local."] {
                resolves(client, name)?;
            }
            ensure!(lookup(client, "ahostsv4", "headless")? == [fixture.server.ip().to_string()]);
            let page = client
                .net
                .run(&["curl", "-sS", "--max-time", "10", "http://server/"])?;
            ensure!(page.contains("server"), "{page}");

            // No resolver runs yet: a foreign name gets no answer, and nothing is made up.
            ensure!(lookup(client, "ahostsv4", "elsewhere.example.")?.is_empty());
            let resolver = lab.node("n1")?;
            let args = [
                "dnsmasq",
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--log-queries",
                "--log-facility=-",
                "--address=/elsewhere.example/192.0.2.7",
                "--address=/cluster.local/",
                "--address=/invalid/",
                "--user=root",
                "--pid-file=",
            ];
            let mut dnsmasq = resolver.net.spawn("dnsmasq", &args)?;
            resolver.net.wait_for_server(&mut dnsmasq, 53)?;
            ensure!(
                lookup(client, "ahostsv4", "elsewhere.example.")? == ["192.0.2.7"],
                "forwarded to the resolver that the pod addressed"
            );
            dnsmasq.wait_for_log(&format!("from {}", client.ip()))?;
            // Names that the search list turns into others first, of which the resolver says that there are none.
            for name in [
                "server.demo",
                "server.demo.svc",
                "server.demo.svc.cluster.local",
            ] {
                resolves(client, name)?;
            }
            ensure!(lookup(client, "ahostsv4", "nonesuch.invalid.")?.is_empty());
            ensure!(
                !dnsmasq
                    .log()
                    .contains("] server.demo.svc.cluster.local from"),
                "a name of the mesh was forwarded"
            );

            let address =
                client
                    .net
                    .run(&["sh", "-c", "sed -n 's/^nameserver //p' /etc/resolv.conf"])?;
            let address = address.trim().parse()?;
            ensure!(over_tcp(client, address, "server.demo.svc.cluster.local")? == (0, 1));
            ensure!(over_tcp(client, address, "elsewhere.example")? == (0, 1));
            fixture.no_descriptors_left(before, 4)
        },
    );
}
