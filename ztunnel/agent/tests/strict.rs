//! Under STRICT, plaintext that goes around the mesh is ended, and nothing else is.

mod bench;
#[path = "bench/setup.rs"]
mod setup;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context as _, Result};
use bench::ztunnel::Agent;
use bench::{accept, connect, connect_as, listen, talk};
use culvert_agent::pod::{Pod, Strict};
use culvert_agent::status::Status;
use culvert_lab::Netns;
use setup::world;
use socket2::Socket;

const EXCEPTED: u16 = 9090;
const EXCLUDED: u16 = 7070;

fn strict(every_port: bool, ports: &[u16]) -> Option<Strict> {
    let ports = ports.iter().copied().collect();
    Some(Strict { every_port, ports })
}

/// A connection between two namespaces: what was dialled, what was accepted, and the listener.
fn open(from: &Netns, net: &Netns, to: SocketAddr) -> Result<(TcpStream, Socket, Socket)> {
    let listener = listen(net, to)?;
    let dialled = connect(from, to)?;
    let (accepted, _) = accept(&listener);
    Ok((dialled, accepted, listener))
}

/// Both ends have been told that the connection is no more.
fn assert_ended((dialled, accepted, _): &(TcpStream, Socket, Socket)) {
    for result in [(&*dialled).read(&mut [0]), (&*accepted).read(&mut [0])] {
        let kind = result.map_err(|error| error.kind());
        let ended = [
            Err(std::io::ErrorKind::ConnectionReset),
            Err(std::io::ErrorKind::ConnectionAborted),
        ];
        assert!(ended.contains(&kind), "{kind:?}");
    }
}

fn mark(agent: &Agent) -> Result<u32> {
    let records = agent.cx.store.records();
    Ok(records.first().context("a record")?.spec.mark.value)
}

#[test]
fn plaintext_from_before_is_ended_on_strict_ports_and_nowhere_else() {
    let name = "plaintext_from_before_is_ended_on_strict_ports_and_nowhere_else";
    world(name, |mut setup| async move {
        let (pod, client) = (setup.bench.pod.net.clone(), setup.bench.client.net.clone());
        let mut ended = Vec::new();
        let mut stay = Vec::new();
        let ips: Vec<(IpAddr, IpAddr)> =
            std::iter::zip(setup.bench.pod.ips(), setup.bench.client.ips()).collect();
        for &(own, other) in &ips {
            ended.push(open(&client, &pod, (own, 8080).into())?);
            stay.push(open(&client, &pod, (own, EXCEPTED).into())?);
            stay.push(open(&client, &pod, (own, EXCLUDED).into())?);
            // What the pod dialled, and what stays inside of it.
            stay.push(open(&pod, &client, (other, 8081).into())?);
            stay.push(open(&pod, &pod, (own, 8082).into())?);
        }
        stay.push(open(&pod, &pod, "127.0.0.1:8083".parse()?)?);
        setup.bench.told.strict = strict(true, &[EXCEPTED]);
        setup
            .bench
            .told
            .options
            .exclude_inbound_ports
            .insert(EXCLUDED);
        let (agent, _ztunnel) = setup.captured().await?;
        let count = ips.len();
        let closed =
            |s: &Status| s.connections_closed == count && s.connections_before == 3 * count;
        agent.until(setup.uid(), closed).await?;
        ended.iter().for_each(assert_ended);
        // Some audits later too.
        tokio::time::sleep(bench::PATIENCE / 10).await;
        for (dialled, accepted, _) in &stay {
            talk(dialled, accepted);
        }
        assert_eq!(agent.captured(setup.uid()).await?.connections_closed, count);
        agent.stop().await
    });
}

#[test]
fn strict_that_comes_later_ends_what_goes_around_and_keeps_what_ztunnel_carries() {
    let name = "strict_that_comes_later_ends_what_goes_around_and_keeps_what_ztunnel_carries";
    world(name, |setup| async move {
        let (pod, client) = (setup.bench.pod.net.clone(), setup.bench.client.net.clone());
        let own = setup.bench.pod.ip();
        let around = open(&client, &pod, (own, 8080).into())?;
        let around_too = open(&client, &pod, (own, EXCEPTED).into())?;
        let (agent, _ztunnel) = setup.captured().await?;
        let mark = mark(&agent)?;
        let sockets = bench::Ztunnel::open(&pod, mark)?;
        let from = SocketAddr::new(setup.bench.client.ip(), 0);
        let carried = connect_as(&pod, from, (own, 8080).into(), mark)?;
        let (served, _) = accept(&around.2);
        // Dialled, by way of ztunnel, from a port that is listened on later.
        let dialled = connect_as(&pod, (own, 6060).into(), "192.0.2.7:80".parse()?, 0)?;
        let (taken, _) = accept(&sockets.outbound);
        let _listener = listen(&pod, (own, 6060).into())?;

        let tell = |strict: Option<Strict>| {
            let told = setup.bench.told.clone();
            agent.tell(&Pod { strict, ..told })
        };
        tell(strict(false, &[]))?;
        tokio::time::sleep(bench::SILENCE * 2).await;
        talk(&around.0, &around.1);
        assert_eq!(agent.captured(setup.uid()).await?.connections_closed, 0);

        tell(strict(false, &[EXCEPTED]))?;
        agent
            .until(setup.uid(), |s| s.connections_closed == 1)
            .await?;
        assert_ended(&around_too);
        talk(&around.0, &around.1);
        tell(strict(true, &[]))?;
        let both = |s: &Status| s.connections_closed == 2 && s.connections_before == 0;
        agent.until(setup.uid(), both).await?;
        assert_ended(&around);
        tokio::time::sleep(bench::SILENCE * 3).await;
        talk(&carried, &served);
        talk(&dialled, &taken);
        assert_eq!(agent.captured(setup.uid()).await?.connections_closed, 2);
        agent.stop().await
    });
}

/// Somebody flushed the rules, and a connection came before they were back. The next agent knows of STRICT too, from
/// what it remembers.
#[test]
fn plaintext_that_came_while_rules_were_missing_is_ended() {
    let name = "plaintext_that_came_while_rules_were_missing_is_ended";
    world(name, |mut setup| async move {
        setup.bench.told.strict = strict(true, &[]);
        let (agent, ztunnel) = setup.captured().await?;
        let (pod, client) = (setup.bench.pod.net.clone(), setup.bench.client.net.clone());
        let own = setup.bench.pod.ip();
        let flush = "nft flush ruleset; ip rule del pref 32764";
        // The agent has this thread too, so it does not come between.
        pod.script(flush)?;
        let came = open(&client, &pod, (own, 8080).into())?;
        talk(&came.0, &came.1);
        agent
            .until(setup.uid(), |s| s.connections_closed == 1)
            .await?;
        assert_ended(&came);

        agent.stop().await?;
        ztunnel.die().await;
        pod.script(flush)?;
        let came = open(&client, &pod, (own, 8081).into())?;
        let agent = setup.agent()?;
        agent
            .until(setup.uid(), |s| s.connections_closed == 1)
            .await?;
        assert_ended(&came);
        agent.stop().await
    });
}

/// Connections that ztunnel carries come and go while it is looked for plaintext: none of them is taken for some.
#[test]
fn what_ztunnel_carries_is_never_taken_for_plaintext() {
    let name = "what_ztunnel_carries_is_never_taken_for_plaintext";
    world(name, |mut setup| async move {
        setup.bench.told.strict = strict(true, &[]);
        let (agent, _ztunnel) = setup.captured().await?;
        let (pod, own) = (setup.bench.pod.net.clone(), setup.bench.pod.ip());
        let (from, mark) = (setup.bench.client.ip(), mark(&agent)?);
        let listener = listen(&pod, (own, 8080).into())?;
        let told = setup.bench.told.clone();
        let site = setup.bench.site();
        let traffic = tokio::task::spawn_blocking(move || {
            let end = std::time::Instant::now() + bench::PATIENCE / 3;
            let mut count = 0;
            let mut kept = std::collections::VecDeque::new();
            while std::time::Instant::now() < end {
                let dialled = connect_as(&pod, (from, 0).into(), (own, 8080).into(), mark).unwrap();
                let (accepted, _) = accept(&listener);
                kept.push_back((dialled, accepted));
                if kept.len() > 200 {
                    let (dialled, accepted) = kept.pop_front().unwrap();
                    talk(&dialled, &accepted);
                }
                count += 1;
            }
            count
        });
        let doomed = culvert_agent::capture::plaintext::Doomed {
            strict: told.strict.context("strict")?,
            options: told.options,
            before: Vec::new(),
            probing: Vec::new(),
        };
        let mut looks = 0;
        while !traffic.is_finished() {
            assert_eq!(site.end_plaintext(&doomed)?, 0);
            looks += 1;
            tokio::task::yield_now().await;
        }
        let count = traffic.await?;
        assert!(
            count > 300 && looks > 30,
            "{count} connections, {looks} looks"
        );
        let status = agent.captured(setup.uid()).await?;
        assert_eq!(status.connections_closed, 0);
        agent.stop().await
    });
}
