//! Bytes through the tunnel: exact, in both directions, however the applications open, end or break a connection.

use anyhow::{Result, ensure};
use culvert_lab::{MeshOptions, Pod, leaks};
use culvert_suites::{Fixture, VIP4, VIP6, client, port};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, TcpStream},
    os::fd::AsFd,
};

/// What one tunnel costs a ztunnel in descriptors; the suites below use few tunnels at once.
const POOLED: usize = 4;

fn banner(pod: &Pod, ip: IpAddr) -> Result<String> {
    let stream = client::connect(pod, ip, port::BANNER)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn reset(stream: &TcpStream) -> Result<()> {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&stream.as_fd(), nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}

#[test]
fn every_address_of_a_server_works_and_keeps_the_clients_address() {
    culvert_lab::test(
        "every_address_of_a_server_works_and_keeps_the_clients_address",
        |lab| {
            let fixture = Fixture::start(lab, MeshOptions::default())?;
            fixture.talks()?;
            for ip in [
                fixture.server.ip(),
                IpAddr::V6(fixture.server.ip6),
                VIP4,
                VIP6,
            ] {
                client::echo(&fixture.client, ip, port::ECHO, "hello")?;
                let line = banner(&fixture.client, ip)?;
                let own = if ip.is_ipv4() {
                    fixture.client.ip()
                } else {
                    IpAddr::V6(fixture.client.ip6)
                };
                let seen = line
                    .trim()
                    .rsplit_once(':')
                    .map(|(peer, _)| peer.replace("220 server ", "").replace(['[', ']'], ""));
                ensure!(
                    seen == Some(own.to_string()),
                    "by {ip} the server saw {line:?}, not {own}"
                );
            }
            client::echo(
                &fixture.client,
                VIP4,
                port::MAPPED,
                "a service port that maps to another one",
            )
        },
    );
}

#[test]
fn half_close_in_both_directions() {
    culvert_lab::test("half_close_in_both_directions", |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let before = fixture.descriptors()?;
        let server = fixture.server.ip();
        // The client ends first and still hears all.
        let mut sink = client::connect(&fixture.client, server, port::SINK)?;
        sink.write_all(&[7; 100_000])?;
        sink.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        sink.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("100000 "), "{answer}");
        // The server ends first and still hears the client.
        let mut mute = client::connect(&fixture.client, server, port::MUTE)?;
        ensure!(
            client::ended(&mut mute)?.is_none(),
            "an end of stream, not a reset"
        );
        for _ in 0..100 {
            mute.write_all(&[1; 10_000])?;
        }
        mute.shutdown(Shutdown::Write)?;
        // Not one byte.
        let mut empty = client::connect(&fixture.client, server, port::SINK)?;
        empty.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        empty.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("0 "), "{answer}");
        drop((sink, mute, empty));
        fixture.no_descriptors_left(before, POOLED)
    });
}

#[test]
fn a_server_may_speak_first_and_a_reset_stays_a_reset() {
    culvert_lab::test(
        "a_server_may_speak_first_and_a_reset_stays_a_reset",
        |lab| {
            let mut fixture = Fixture::start(lab, MeshOptions::default())?;
            let before = fixture.descriptors()?;
            let line = banner(&fixture.client, fixture.server.ip())?;
            ensure!(line.starts_with("220 server "), "{line}");
            // From the client to the server: its echo ends with an error, which it prints.
            let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
            client::ping(&mut stream, "soon reset")?;
            reset(&stream)?;
            drop(stream);
            fixture.echo.wait_for_log("Echo: ")?;
            // From the server to the client: nobody listens.
            let error = client::refused(&fixture.client, fixture.server.ip(), 9)?;
            ensure!(
                error.kind() == ErrorKind::ConnectionReset
                    || error.kind() == ErrorKind::ConnectionRefused,
                "{error}"
            );
            fixture.no_descriptors_left(before, POOLED)
        },
    );
}

#[test]
fn a_gigabyte_arrives_as_it_was_sent() {
    culvert_lab::test("a_gigabyte_arrives_as_it_was_sent", |lab| {
        const SIZE: usize = 1 << 30;
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let before = fixture.descriptors()?;
        client::through(
            &fixture.client,
            (fixture.server.ip(), port::SOURCE),
            (VIP4, port::SINK),
            SIZE,
        )?;
        fixture.no_descriptors_left(before, POOLED)
    });
}

#[test]
fn two_thousand_connections_at_once() {
    culvert_lab::test("two_thousand_connections_at_once", |lab| {
        const COUNT: usize = 2_000;
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.talks()?;
        let before = fixture.descriptors()?;
        let namespaces = leaks::network_namespaces()?;
        let mut open = Vec::with_capacity(COUNT);
        for index in 0..COUNT {
            let mut stream = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
            client::ping(&mut stream, &format!("first {index}"))?;
            open.push(stream);
        }
        for (index, stream) in open.iter_mut().enumerate() {
            client::ping(stream, &format!("again {index}"))?;
        }
        let shown = fixture.mesh.ztunnel_connections("n2")?;
        let shown = shown.as_array().map_or(0, Vec::len);
        ensure!(shown >= COUNT, "{shown} connections of {COUNT} are shown");
        drop(open);
        // 2,000 streams take 20 tunnels or more, which stay pooled for a while.
        fixture.no_descriptors_left(before, 40)?;
        ensure!(leaks::network_namespaces()? == namespaces);
        Ok(())
    });
}

#[test]
fn two_pods_of_one_identity_never_share_a_tunnel() {
    culvert_lab::test("two_pods_of_one_identity_never_share_a_tunnel", |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        let twin = fixture.add_pod("n1", "demo", "twin", "client")?;
        ensure!(twin.identity() == fixture.client.identity());
        let mut open = Vec::new();
        for pod in [&fixture.client, &twin, &fixture.client, &twin] {
            let mut stream = client::connect(pod, fixture.server.ip(), port::ECHO)?;
            client::ping(&mut stream, "mine")?;
            open.push(stream);
            let line = banner(pod, fixture.server.ip())?;
            ensure!(
                line.contains(&pod.ip().to_string()),
                "{} was seen as {line}",
                pod.key()
            );
        }
        let tunnels = tunnels(&fixture)?;
        let sources: BTreeSet<_> = tunnels.iter().map(|(source, _)| *source).collect();
        ensure!(
            sources == BTreeSet::from([fixture.client.ip(), twin.ip()]),
            "{tunnels:?}"
        );
        Ok(())
    });
}

/// Established TCP connections to the server's port 15008, seen in its namespace: addresses and ports of the peers.
fn tunnels(fixture: &Fixture<'_>) -> Result<Vec<(IpAddr, u16)>> {
    let table =
        fixture
            .server
            .net
            .run(&["ss", "-Htn", "state", "established", "sport", "=", ":15008"])?;
    let peers = table
        .lines()
        .filter_map(|line| line.split_whitespace().last());
    peers
        .map(|peer| {
            let peer: std::net::SocketAddr = peer.parse()?;
            Ok((peer.ip().to_canonical(), peer.port()))
        })
        .collect()
}

#[test]
fn more_connections_in_sequence_than_there_are_ports() {
    culvert_lab::test("more_connections_in_sequence_than_there_are_ports", |lab| {
        // The default range of local ports holds 28,232, and each connection that its client ends leaves one waiting
        // for a minute on the way. The client gets a wider range, so that it is not the client that runs out.
        const COUNT: usize = 30_000;
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        fixture.talks()?;
        let before = fixture.descriptors()?;
        let (pod, ip) = (fixture.client.clone(), fixture.server.ip());
        pod.net
            .script("echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range")?;
        for index in 0..COUNT {
            let mut stream = client::connect(&pod, ip, port::ECHO)?;
            client::ping(&mut stream, "x")
                .map_err(|error| error.context(format!("connection {index}")))?;
            stream.shutdown(Shutdown::Write)?;
            ensure!(
                client::ended(&mut stream)?.is_none(),
                "connection {index} was reset"
            );
        }
        fixture.no_descriptors_left(before, POOLED)
    });
}
