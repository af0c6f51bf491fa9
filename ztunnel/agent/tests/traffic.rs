//! What the rules do to packets, with real rules in real namespaces: where connections end up, what they
//! know of their destination, and that nothing goes around them.

#![expect(
    clippy::expect_used,
    reason = "a step of a test that fails is the test's failure"
)]

mod bench;

use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use anyhow::Result;
use bench::{
    Bench, SILENCE, Ztunnel, accept, connect, connect_as, dial, listen, nobody, original, talk,
    transparent_udp,
};
use culvert_agent::capture::connections::Connection;
use culvert_agent::capture::plan::Step;
use culvert_agent::capture::rules::Flavour;
use culvert_lab::Lab;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Addresses outside the pod, of both families, that nothing but capture answers for.
const ELSEWHERE: [&str; 2] = ["192.0.2.7:8080", "[2001:db8::7]:8080"];

fn each_backend(name: &str, body: impl Fn(&Bench) -> Result<()>) {
    culvert_lab::test(name, |lab: &Lab| bench::each_backend(lab, &body));
}

#[test]
fn outbound_tcp_reaches_ztunnel_with_its_destination() {
    each_backend(
        "outbound_tcp_reaches_ztunnel_with_its_destination",
        |bench| {
            let ztunnel = Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
            bench.ensure();
            for to in ELSEWHERE.map(address) {
                let app = connect(&bench.pod.net, to)?;
                let (taken, from) = accept(&ztunnel.outbound);
                assert_eq!(original(&taken), to);
                assert_eq!(from, app.local_addr()?);
                talk(&app, &taken);
            }
            for to in ["192.0.2.7:53", "[2001:db8::7]:53"].map(address) {
                let app = connect(&bench.pod.net, to)?;
                let (taken, _) = accept(&ztunnel.dns_tcp[usize::from(to.is_ipv6())]);
                assert_eq!(original(&taken), to);
                talk(&app, &taken);
            }
            Ok(())
        },
    );
}

#[test]
fn dns_over_udp_keeps_its_destination_and_gets_its_answer_even_with_strict_rp_filter() {
    let name = "dns_over_udp_keeps_its_destination_and_gets_its_answer_even_with_strict_rp_filter";
    each_backend(name, |bench| {
        bench.pod.net.script(
            "for i in all lo eth0; do echo 1 > /proc/sys/net/ipv4/conf/$i/rp_filter; done",
        )?;
        bench.ensure();
        for (local, resolver) in [
            ("127.0.0.1:15053", "192.0.2.53:53"),
            ("[::1]:15053", "[2001:db8::53]:53"),
        ] {
            let (local, resolver) = (address(local), address(resolver));
            let mark = bench.spec.mark.value;
            let ztunnel = transparent_udp(&bench.pod.net, local, mark)?;
            match local {
                SocketAddr::V4(_) => setsockopt(&ztunnel, sockopt::Ipv4OrigDstAddr, &true)?,
                SocketAddr::V6(_) => setsockopt(&ztunnel, sockopt::Ipv6OrigDstAddr, &true)?,
            }
            let app = bench.pod.net.enter(|| -> Result<_> {
                let any = if local.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let app = std::net::UdpSocket::bind(any)?;
                app.set_read_timeout(Some(bench::PATIENCE))?;
                // Takes answers from the resolver's own address only.
                app.connect(resolver)?;
                Ok(app)
            })??;
            for round in 0..2 {
                app.send(b"query")?;
                let (from, to) = receive(&ztunnel)?;
                assert_eq!((from, to), (app.local_addr()?, resolver), "round {round}");
                let reply = transparent_udp(&bench.pod.net, to, mark)?;
                reply.send_to(b"answer", &from.into())?;
                let mut answer = [0; 16];
                let length = app.recv(&mut answer)?;
                assert_eq!(&answer[..length], b"answer");
            }
        }
        Ok(())
    });
}

/// A datagram's source and original destination.
fn receive(socket: &socket2::Socket) -> Result<(SocketAddr, SocketAddr)> {
    let mut data = [0; 64];
    let mut control = nix::cmsg_space!(nix::libc::sockaddr_in6);
    let mut io = [IoSliceMut::new(&mut data)];
    let flags = MsgFlags::empty();
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut io, Some(&mut control), flags)?;
    let v4 = |a: nix::libc::sockaddr_in| nix::sys::socket::SockaddrIn::from(a).into();
    let v6 = |a: nix::libc::sockaddr_in6| nix::sys::socket::SockaddrIn6::from(a).into();
    let to = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4OrigDstAddr(a) => {
            let a: std::net::SocketAddrV4 = v4(a);
            Some(SocketAddr::V4(a))
        }
        ControlMessageOwned::Ipv6OrigDstAddr(a) => {
            let a: std::net::SocketAddrV6 = v6(a);
            Some(SocketAddr::V6(a))
        }
        _ => None,
    });
    let from = received.address.as_ref().and_then(|a| {
        let v4 = a.as_sockaddr_in().map(|a| SocketAddr::V4((*a).into()));
        v4.or_else(|| a.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
    });
    let missing = || anyhow::anyhow!("a datagram without addresses");
    Ok((from.ok_or_else(missing)?, to.ok_or_else(missing)?))
}

#[test]
fn inbound_tcp_reaches_ztunnel_and_the_application_sees_the_client() {
    let name = "inbound_tcp_reaches_ztunnel_and_the_application_sees_the_client";
    each_backend(name, |bench| {
        bench.pod.net.script(
            "for i in all lo eth0; do echo 1 > /proc/sys/net/ipv4/conf/$i/rp_filter; done",
        )?;
        let ztunnel = Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
        bench.ensure();
        for ip in bench.pod.ips() {
            let to = SocketAddr::new(ip, 8080);
            let app = listen(&bench.pod.net, to)?;
            let client = connect(&bench.client.net, to)?;
            let (taken, from) = accept(&ztunnel.inbound);
            assert_eq!((original(&taken), from), (to, client.local_addr()?));

            // Any port of the client's address, and the one that the captured connection has itself:
            // as another connection of the client may get it by chance.
            let mark = bench.spec.mark.value;
            for port in [0, from.port()] {
                let from = SocketAddr::new(from.ip(), port);
                let dialled = connect_as(&bench.pod.net, from, to, mark)?;
                let (served, seen) = accept(&app);
                assert_eq!(seen.ip(), from.ip());
                talk(&dialled, &served);
                talk(&client, &taken);
            }
            // It is the zone that keeps the two apart.
            bench.flush("raw")?;
            let lost = dial(&bench.pod.net, from, to, mark, SILENCE);
            assert!(lost.is_err(), "{to} was reached without the zone");
            bench.ensure();
        }
        Ok(())
    });
}

#[test]
fn hbone_and_excluded_ports_pass_and_the_pod_reaches_itself() {
    let name = "hbone_and_excluded_ports_pass_and_the_pod_reaches_itself";
    culvert_lab::test(name, |lab| {
        let mut bench = Bench::new(lab)?;
        bench.spec.options.exclude_inbound_ports = [9000].into();
        bench.spec.options.exclude_outbound_ports = [9001].into();
        bench.spec.options.exclude_outbound_cidrs =
            vec!["10.11.0.1/32".parse()?, "fd10:11::1/128".parse()?];
        let ztunnel = Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
        bench.ensure();
        for (ip, peer, gateway) in [
            (bench.pod.ip(), bench.client.ip(), "10.11.0.1".parse()?),
            (
                bench.pod.ip6.into(),
                bench.client.ip6.into(),
                "fd10:11::1".parse()?,
            ),
        ] {
            for port in [15008, 9000] {
                let to = SocketAddr::new(ip, port);
                let listener = listen(&bench.pod.net, to)?;
                let client = connect(&bench.client.net, to)?;
                talk(&client, &accept(&listener).0);
                // The pod itself, to its own address.
                let own = connect(&bench.pod.net, to)?;
                talk(&own, &accept(&listener).0);
            }
            let node = &lab.node("n1")?.net;
            for (net, to) in [
                (&bench.client.net, SocketAddr::new(peer, 9001)),
                (node, SocketAddr::new(gateway, 9002)),
            ] {
                let listener = listen(net, to)?;
                let app = connect(&bench.pod.net, to)?;
                talk(&app, &accept(&listener).0);
            }
        }
        assert!(nobody(&ztunnel.outbound) && nobody(&ztunnel.inbound));
        Ok(())
    });
}

/// Fail closed: ztunnel dead; redirection flushed by somebody; both directions, both families.
#[test]
fn without_ztunnel_or_without_redirection_nothing_passes() {
    each_backend(
        "without_ztunnel_or_without_redirection_nothing_passes",
        |bench| {
            bench.ensure();
            let refused = |stage: &str| -> Result<()> {
                for ip in bench.pod.ips() {
                    let to = SocketAddr::new(ip, 8080);
                    let _app = listen(&bench.pod.net, to)?;
                    let inbound = connect(&bench.client.net, to);
                    anyhow::ensure!(inbound.is_err(), "{stage}: {to} was reached");
                }
                for ip in bench.client.ips() {
                    let to = SocketAddr::new(ip, 8080);
                    let _server = listen(&bench.client.net, to)?;
                    let outbound = connect(&bench.pod.net, to);
                    anyhow::ensure!(outbound.is_err(), "{stage}: {to} was reached");
                }
                Ok(())
            };
            refused("no ztunnel")?;
            bench.flush("nat")?;
            refused("no redirection")?;
            bench.ensure();
            bench.flush("filter")?;
            refused("no guard")?;
            // Either is enough; it takes both to be gone.
            bench.flush("nat")?;
            bench.flush("filter")?;
            assert!(refused("neither").is_err());
            Ok(())
        },
    );
}

/// Fail closed: what brings answers to ztunnel is gone. They wait, and arrive when it is back; had one of
/// them reached the client, the client would have reset the connection.
#[test]
fn answers_wait_while_their_way_to_ztunnel_is_gone() {
    each_backend("answers_wait_while_their_way_to_ztunnel_is_gone", |bench| {
        let routes = || {
            let script = "ip rule del pref 32764; ip -6 rule del pref 32764";
            bench.pod.net.script(script).map(drop)
        };
        let mangle = || bench.flush("mangle");
        for (ip, from) in bench.pod.ips().into_iter().zip(bench.client.ips()) {
            bench.ensure();
            let to = SocketAddr::new(ip, 8080);
            let app = listen(&bench.pod.net, to)?;
            let from = SocketAddr::new(from, 0);
            let mark = bench.spec.mark.value;
            let mut dialled = connect_as(&bench.pod.net, from, to, mark)?;
            let (mut served, _) = accept(&app);
            let breaks: [&dyn Fn() -> Result<()>; 2] = [&mangle, &routes];
            for broken in breaks {
                broken()?;
                served.write_all(b"late")?;
                std::thread::sleep(SILENCE);
                bench.ensure();
                let mut late = [0; 4];
                dialled.read_exact(&mut late)?;
                assert_eq!(&late, b"late");
                talk(&dialled, &served);
            }
            // It is the guard that holds them back.
            bench.flush("filter")?;
            bench.flush("mangle")?;
            served.write_all(b"lost")?;
            let mut end = [0; 1];
            assert!(served.read(&mut end).is_err(), "the client has reset it");
        }
        Ok(())
    });
}

/// A peer that opens the way with a packet in the middle of nothing does not get around capture.
#[test]
fn a_stray_segment_opens_no_way_in() {
    culvert_lab::test("a_stray_segment_opens_no_way_in", |lab| {
        let bench = Bench::new(lab)?;
        let to = SocketAddr::new(bench.pod.ip(), 8080);
        let app = listen(&bench.pod.net, to)?;
        // A connection that conntrack in the pod has never seen sends its first segment when the rules
        // are there already.
        let mut client = connect(&bench.client.net, to)?;
        let port = client.local_addr()?.port();
        let (served, _) = accept(&app);
        bench.ensure();
        client.write_all(b"stray")?;
        let mut end = [0; 1];
        assert!(client.read(&mut end).is_err(), "not exempt, so it is reset");
        drop((client, served));

        let from = SocketAddr::new(bench.client.ip(), port);
        let again = connect_as(&bench.client.net, from, to, 0);
        assert!(again.is_err(), "the same port reached the application");
        Ok(())
    });
}

#[test]
fn connections_from_before_go_on_and_are_known() {
    each_backend("connections_from_before_go_on_and_are_known", |bench| {
        let mut open = Vec::new();
        let mut expected = Vec::new();
        for (pod, peer) in bench.pod.ips().into_iter().zip(bench.client.ips()) {
            for (server, client, ip) in [
                (&bench.client.net, &bench.pod.net, peer),
                (&bench.pod.net, &bench.client.net, pod),
            ] {
                let listener = listen(server, SocketAddr::new(ip, 8080))?;
                let stream = connect(client, SocketAddr::new(ip, 8080))?;
                let (accepted, from) = accept(&listener);
                let there = SocketAddr::new(ip, 8080);
                let (local, remote) = if ip == pod {
                    (there, from)
                } else {
                    (from, there)
                };
                expected.push(Connection { local, remote });
                open.push((stream, accepted));
            }
        }
        // Not one with the outside.
        let own = SocketAddr::new(bench.pod.ip(), 8081);
        let listener = listen(&bench.pod.net, own)?;
        let local = connect(&bench.pod.net, own)?;
        let (accepted, _) = accept(&listener);

        let site = bench.site();
        let mut found = site.connections()?;
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        site.exempt(&found)?;
        site.exempt(&found)?;
        bench.ensure();
        for (one, other) in &open {
            talk(one, other);
        }
        talk(&local, &accepted);
        drop(open);
        assert!(site.connections()?.is_empty());
        Ok(())
    });
}

/// Between the steps of leaving, what ztunnel still carries stays with ztunnel, while new connections are
/// no longer captured.
#[test]
fn leaving_sends_nothing_of_an_open_connection_into_the_open() {
    let name = "leaving_sends_nothing_of_an_open_connection_into_the_open";
    each_backend(name, |bench| {
        let ztunnel = Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
        bench.ensure();
        // The kernel ends nftables' translations with the table, so those from the application count too.
        let each = match bench.tools.name() {
            "nftables" => 2,
            _ => 1,
        };
        let mut open = Vec::new();
        for (ip, to) in bench.pod.ips().into_iter().zip(ELSEWHERE.map(address)) {
            let outbound = connect(&bench.pod.net, to)?;
            let (taken, _) = accept(&ztunnel.outbound);
            let app = listen(&bench.pod.net, SocketAddr::new(ip, 8080))?;
            let client = connect(&bench.client.net, SocketAddr::new(ip, 8080))?;
            let (inbound, from) = accept(&ztunnel.inbound);
            let from = SocketAddr::new(from.ip(), 0);
            let mark = bench.spec.mark.value;
            let dial = connect_as(&bench.pod.net, from, SocketAddr::new(ip, 8080), mark)?;
            let (served, _) = accept(&app);
            open.push((outbound, taken, client, inbound, dial, served, app));
            assert_eq!(bench.site().carried(&bench.tools)?, each * open.len());
        }
        bench.remove(Step::Redirection);
        for (outbound, taken, client, inbound, dial, served, app) in &open {
            talk(outbound, taken);
            talk(client, inbound);
            talk(dial, served);
            let to = app.local_addr()?.as_socket().expect("an address");
            let direct = connect(&bench.client.net, to)?;
            talk(&direct, &accept(app).0);
        }
        open.clear();
        assert_eq!(bench.site().carried(&bench.tools)?, 0);
        Ok(())
    });
}

/// What ztunnel carries can be ended: all of it is reset at both ends, and nothing else is.
#[test]
fn ending_what_is_carried_ends_nothing_else() {
    each_backend("ending_what_is_carried_ends_nothing_else", |bench| {
        let ztunnel = Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
        let ip = bench.pod.ips()[0];
        let app = listen(&bench.pod.net, SocketAddr::new(ip, 8080))?;
        let around = connect(&bench.client.net, SocketAddr::new(ip, 8080))?;
        let (before, _) = accept(&app);
        let site = bench.site();
        site.exempt(&site.connections()?)?;
        bench.ensure();
        let outbound = connect(&bench.pod.net, address(ELSEWHERE[0]))?;
        let (taken, _) = accept(&ztunnel.outbound);
        let client = connect(&bench.client.net, SocketAddr::new(ip, 8080))?;
        let (inbound, from) = accept(&ztunnel.inbound);
        let from = SocketAddr::new(from.ip(), 0);
        let mark = bench.spec.mark.value;
        let dial = connect_as(&bench.pod.net, from, SocketAddr::new(ip, 8080), mark)?;
        let (served, _) = accept(&app);
        assert_eq!(site.end_carried()?, 3, "two accepted and one dialled");
        assert_eq!(site.carried(&bench.tools)?, 0);
        for mut ended in [
            outbound,
            taken.into(),
            client,
            inbound.into(),
            dial.into(),
            served.into(),
        ] {
            let read = ended.read(&mut [0]);
            assert!(read.is_err() || matches!(read, Ok(0)), "{read:?}");
        }
        talk(&around, &before);
        let again = connect(&bench.client.net, SocketAddr::new(ip, 8080))?;
        talk(&again, &accept(&ztunnel.inbound).0);
        Ok(())
    });
}

#[test]
fn rules_for_a_stock_ztunnel_redirect_dns_over_udp() {
    culvert_lab::test("rules_for_a_stock_ztunnel_redirect_dns_over_udp", |lab| {
        let mut bench = Bench::new(lab)?;
        bench.spec.flavour = Flavour::Stock;
        bench.spec.mark = culvert_agent::capture::rules::Mark::STOCK;
        let stock = bench
            .pod
            .net
            .enter(|| std::net::UdpSocket::bind("127.0.0.1:15053"))??;
        stock.set_read_timeout(Some(bench::PATIENCE))?;
        bench.ensure();
        let app = bench
            .pod
            .net
            .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))??;
        app.set_read_timeout(Some(bench::PATIENCE))?;
        app.send_to(b"query", "192.0.2.53:53")?;
        let mut data = [0; 16];
        let (_, from) = stock.recv_from(&mut data)?;
        stock.send_to(b"answer", from)?;
        let (length, resolver) = app.recv_from(&mut data)?;
        assert_eq!(
            (&data[..length], resolver),
            (&b"answer"[..], address("192.0.2.53:53"))
        );
        // What carries the mark passes, also with other bits beside it.
        let to = SocketAddr::new(bench.client.ip(), 8080);
        let server = listen(&bench.client.net, to)?;
        let from = SocketAddr::new(bench.pod.ip(), 0);
        let marked = connect_as(&bench.pod.net, from, to, 0x1539)?;
        talk(&marked, &accept(&server).0);
        Ok(())
    });
}
