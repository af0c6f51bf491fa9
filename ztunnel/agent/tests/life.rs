//! The life of a pod in the agent's hands: joining and leaving in their order, ztunnels that come, go, refuse
//! and hang, agents that restart, namespaces that change.

mod bench;
#[path = "bench/setup.rs"]
mod setup;

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use bench::ztunnel::{Asked, Ztunnel, eventually};
use bench::{accept, connect, connect_as, listen, talk, told};
use culvert_agent::capture::backend::Kind;
use culvert_agent::cleanup;
use culvert_agent::status::{Capture, Status};
use culvert_agent::store::{Lock, Store};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use setup::{world, world_of};

#[test]
fn sockets_come_before_rules_and_go_after_redirection() {
    let name = "sockets_come_before_rules_and_go_after_redirection";
    world(name, |setup| async move {
        let (bench, agent) = (&setup.bench, setup.agent()?);
        let empty = bench.rules()?;
        agent.tell(&bench.told)?;
        let waiting = agent
            .until(setup.uid(), |s| s.capture == Capture::Pending)
            .await?;
        assert_eq!(waiting.message, "waiting for a ztunnel");
        assert_eq!(bench.rules()?, empty);

        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        let Asked::Add(workload) = ztunnel.asked().await? else {
            anyhow::bail!("no Add")
        };
        assert_eq!(workload.addresses, bench.told.addresses);
        assert_eq!(bench.rules()?, empty, "rules before sockets");
        ztunnel.answer(Ok(()));
        let status = agent.captured(setup.uid()).await?;
        assert_eq!((status.generation, status.message.as_str()), (1, ""));
        let rules = bench.rules()?;
        assert!(
            rules.contains(&format!("--mark {:#x} ", workload.mark)),
            "{rules}"
        );
        assert_eq!(ztunnel.grant().await?, Asked::Snapshot);
        assert_eq!(setup.records()?, 1);

        let mut released = bench.told.clone();
        released.enrolled = false;
        agent.tell(&released)?;
        assert_eq!(ztunnel.asked().await?, Asked::Del(setup.uid().to_owned()));
        let rules = bench.rules()?;
        assert!(
            !rules.contains("REDIRECT") && !rules.contains("REJECT"),
            "{rules}"
        );
        assert!(
            rules.contains("CONNMARK"),
            "answers would leave in the clear"
        );
        ztunnel.answer(Ok(()));
        agent
            .until(setup.uid(), |s| s.capture == Capture::Released)
            .await?;
        assert_eq!(bench.rules()?, empty);
        assert_eq!(setup.records()?, 0);

        agent.tell(&bench.told)?;
        ztunnel.grant_add().await?;
        agent.captured(setup.uid()).await?;
        agent.stop().await
    });
}

/// What ztunnel carries when a pod leaves goes on, and its answers stay off the wire until it ends.
#[test]
fn open_connections_keep_what_they_need_of_the_rules() {
    let name = "open_connections_keep_what_they_need_of_the_rules";
    world(name, |setup| async move {
        let empty = setup.bench.rules()?;
        let (agent, ztunnel) = setup.captured().await?;
        let to = SocketAddr::new(setup.bench.pod.ip(), 8080);
        let from = SocketAddr::new(setup.bench.client.ip(), 0);
        let app = listen(&setup.bench.pod.net, to)?;
        let mark = agent
            .cx
            .store
            .records()
            .first()
            .context("a record")?
            .spec
            .mark;
        let dial = connect_as(&setup.bench.pod.net, from, to, mark.value)?;
        let (served, _) = accept(&app);

        let mut released = setup.bench.told.clone();
        released.enrolled = false;
        agent.tell(&released)?;
        assert!(matches!(ztunnel.grant().await?, Asked::Del(_)));
        let kept = |s: &Status| s.message.starts_with("1 connection");
        let status = agent.until(setup.uid(), kept).await?;
        assert_eq!(status.capture, Capture::Released);
        talk(&dial, &served);
        assert!(!setup.bench.rules()?.contains("REDIRECT"));

        drop((dial, served));
        let done = |s: &Status| s.message.is_empty();
        agent.until(setup.uid(), done).await?;
        assert_eq!(setup.bench.rules()?, empty);
        assert_eq!(setup.records()?, 0);
        agent.stop().await
    });
}

#[test]
fn a_refused_pod_is_not_captured_until_it_is_accepted() {
    let name = "a_refused_pod_is_not_captured_until_it_is_accepted";
    world(name, |setup| async move {
        let (bench, agent) = (&setup.bench, setup.agent()?);
        let empty = bench.rules()?;
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        assert_eq!(ztunnel.grant().await?, Asked::Snapshot);
        agent.tell(&bench.told)?;
        assert!(matches!(ztunnel.asked().await?, Asked::Add(_)));
        ztunnel.answer(Err("port 15001 is taken"));
        let said = |s: &Status| s.message.contains("port 15001 is taken");
        let status = agent.until(setup.uid(), said).await?;
        assert_eq!(status.capture, Capture::Pending);
        assert_eq!(bench.rules()?, empty);
        ztunnel.grant_add().await?;
        agent.captured(setup.uid()).await?;
        agent.stop().await
    });
}

#[test]
fn rules_stay_when_ztunnel_or_agent_or_both_are_gone() {
    let name = "rules_stay_when_ztunnel_or_agent_or_both_are_gone";
    world(name, |setup| async move {
        let (agent, ztunnel) = setup.captured().await?;
        let rules = setup.bench.rules()?;
        ztunnel.die().await;
        let alone = |s: &Status| s.message.contains("no ztunnel");
        let status = agent.until(setup.uid(), alone).await?;
        assert_eq!(status.capture, Capture::Captured);
        assert_eq!(setup.bench.rules()?, rules);
        agent.stop().await?;
        assert_eq!(setup.bench.rules()?, rules);

        // The controller is away: nobody tells the next agent anything. It repairs what changed meanwhile.
        setup
            .bench
            .pod
            .net
            .script("iptables -t nat -F CULVERT_OUTPUT")?;
        let agent = setup.agent()?;
        let status = agent.captured(setup.uid()).await?;
        assert_eq!((status.generation, status.repairs), (1, 1));
        assert_eq!(setup.bench.rules()?, rules);
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        let workload = ztunnel.grant_add().await?;
        assert!(rules.contains(&format!("--mark {:#x} ", workload.mark)));
        assert_eq!(ztunnel.grant().await?, Asked::Snapshot);
        assert_eq!(agent.ready.pending(), ["pods"]);

        // It is back, and as if restarted empty: what it does not name stays.
        agent.synced()?;
        assert!(
            eventually(|| agent.ready.pending().is_empty().then_some(()))
                .await
                .is_some()
        );
        agent.until(setup.uid(), |s| s.message.is_empty()).await?;
        assert_eq!(setup.bench.rules()?, rules);
        agent.stop().await
    });
}

#[test]
fn drift_is_repaired_and_counted() {
    world("drift_is_repaired_and_counted", |setup| async move {
        let (agent, _ztunnel) = setup.captured().await?;
        let rules = setup.bench.rules()?;
        for (at, change) in [
            "iptables -t nat -F",
            "ip6tables -t mangle -D OUTPUT 1",
            "ip -6 rule del pref 32764",
        ]
        .into_iter()
        .enumerate()
        {
            setup.bench.pod.net.script(change)?;
            let repairs = u64::try_from(at)? + 1;
            let status = agent.until(setup.uid(), |s| s.repairs == repairs).await?;
            assert_eq!((status.capture, status.generation), (Capture::Captured, 1));
            assert_eq!(setup.bench.rules()?, rules, "{change}");
        }
        agent.stop().await
    });
}

/// With nftables: repaired, and the table stays until the last connection that it translates has ended.
#[test]
fn a_life_with_nftables() {
    world_of("a_life_with_nftables", Kind::Nftables, |setup| async move {
        let (bench, empty) = (&setup.bench, setup.bench.rules()?);
        let (agent, ztunnel) = setup.captured().await?;
        let rules = bench.rules()?;
        bench.flush("nat")?;
        agent.until(setup.uid(), |s| s.repairs == 1).await?;
        assert_eq!(bench.rules()?, rules);

        let sockets = bench::Ztunnel::open(&bench.pod.net, 1)?;
        let app = connect(&bench.pod.net, "192.0.2.7:8080".parse()?)?;
        let (taken, _) = accept(&sockets.outbound);
        let mut released = bench.told.clone();
        released.enrolled = false;
        agent.tell(&released)?;
        assert!(matches!(ztunnel.grant().await?, Asked::Del(_)));
        let kept = |s: &Status| s.message.starts_with("1 connection");
        agent.until(setup.uid(), kept).await?;
        talk(&app, &taken);
        assert!(!bench.rules()?.contains("redirect"));
        drop((app, taken));
        agent.until(setup.uid(), |s| s.message.is_empty()).await?;
        assert_eq!(bench.rules()?, empty);
        agent.stop().await
    });
}

#[test]
fn changed_options_make_a_new_generation() {
    world(
        "changed_options_make_a_new_generation",
        |setup| async move {
            let (agent, _ztunnel) = setup.captured().await?;
            let mut told = setup.bench.told.clone();
            told.options.exclude_outbound_ports.insert(5432);
            agent.tell(&told)?;
            let status = agent.until(setup.uid(), |s| s.generation == 2).await?;
            assert_eq!((status.capture, status.repairs), (Capture::Captured, 0));
            let rules = setup.bench.rules()?;
            assert!(rules.contains("--dport 5432") && rules.contains("culvert generation 2"));
            agent.stop().await
        },
    );
}

/// A ztunnel that knows nothing of Culvert and grants everything, until the agent closes the connection.
fn stock(socket: &Path) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let ztunnel = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::connect(ztunnel.as_raw_fd(), &UnixAddr::new(socket)?)?;
    let send =
        |frame: &[u8]| nix::sys::socket::send(ztunnel.as_raw_fd(), frame, MsgFlags::MSG_NOSIGNAL);
    send(&[0x08, 0x01])?;
    std::thread::spawn(move || {
        let mut frame = [0; culvert_zds::MAX_FRAME];
        let receive = |frame: &mut [u8]| {
            nix::sys::socket::recv(ztunnel.as_raw_fd(), frame, MsgFlags::empty())
        };
        while receive(&mut frame).is_ok_and(|length| length > 0) {
            let ack = [0x0a, 0x00];
            let flags = MsgFlags::MSG_NOSIGNAL;
            if nix::sys::socket::send(ztunnel.as_raw_fd(), &ack, flags).is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[test]
fn rules_follow_the_kind_of_ztunnel() {
    world("rules_follow_the_kind_of_ztunnel", |setup| async move {
        let (agent, ztunnel) = setup.captured().await?;
        let ours = setup.bench.rules()?;
        ztunnel.die().await;
        connected(0).await;
        stock(&agent.socket)?;
        agent.until(setup.uid(), |s| s.generation >= 2).await?;
        let rules = setup.bench.rules()?;
        assert!(rules.contains("--mark 0x539/0xfff -j ACCEPT"), "{rules}");
        assert!(!rules.contains("TPROXY"), "{rules}");
        // Once nothing of the other kind is open, its mark passes no more.
        let status = agent.until(setup.uid(), |s| s.generation == 3).await?;
        assert_eq!((status.capture, status.repairs), (Capture::Captured, 0));
        let rules = setup.bench.rules()?;
        agent.stop().await?;

        // Ours again: the pod keeps the stock rules until it has sockets of its own mark.
        let agent = setup.agent()?;
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        let workload = loop {
            match ztunnel.asked().await? {
                Asked::Add(new) if new.mark != culvert_zds::WELL_KNOWN_MARK => break new,
                _ => ztunnel.answer(Ok(())),
            }
        };
        assert_eq!(setup.bench.rules()?, rules);
        ztunnel.answer(Ok(()));
        agent.until(setup.uid(), |s| s.generation == 5).await?;
        let rules = setup.bench.rules()?;
        let mark = format!("--mark {:#x} ", workload.mark);
        assert!(rules.contains(&mark) && rules.contains("TPROXY"), "{rules}");
        assert_eq!(rules.lines().count(), ours.lines().count());
        agent.stop().await
    });
}

/// Wait until so many ztunnels are connected.
async fn connected(count: usize) {
    let line = format!("culvert_agent_ztunnels{{kind=\"culvert\"}} {count}\n");
    let look = || {
        culvert_runtime::metrics::encode()
            .contains(&line)
            .then_some(())
    };
    assert!(eventually(look).await.is_some(), "not {count} connected");
}

#[test]
fn a_hung_ztunnel_is_dropped_and_delays_nobody() {
    world(
        "a_hung_ztunnel_is_dropped_and_delays_nobody",
        |setup| async move {
            let agent = setup.agent()?;
            let hung = Ztunnel::connect(&agent.socket).await?;
            assert_eq!(hung.grant().await?, Asked::Snapshot);
            let serving = Ztunnel::connect(&agent.socket).await?;
            assert_eq!(serving.grant().await?, Asked::Snapshot);
            agent.tell(&setup.bench.told)?;
            serving.grant_add().await?;
            agent.captured(setup.uid()).await?;
            assert!(matches!(hung.asked().await?, Asked::Add(_)));
            connected(1).await;

            // Another hangs when the pod is to leave: it is dropped, and the pod leaves.
            let mut released = setup.bench.told.clone();
            released.enrolled = false;
            agent.tell(&released)?;
            assert!(matches!(serving.asked().await?, Asked::Del(_)));
            agent
                .until(setup.uid(), |s| s.capture == Capture::Released)
                .await?;
            connected(0).await;
            agent.stop().await
        },
    );
}

#[test]
fn two_ztunnels_both_know_every_pod() {
    world("two_ztunnels_both_know_every_pod", |setup| async move {
        let (agent, old) = setup.captured().await?;
        let new = Ztunnel::connect(&agent.socket).await?;
        new.grant_add().await?;
        assert_eq!(new.grant().await?, Asked::Snapshot);
        let client = told(&setup.bench.client);
        agent.tell(&client)?;
        let (one, other) = (old.grant_add().await?, new.grant_add().await?);
        assert_eq!(one, other);
        agent.captured(&client.uid).await?;
        old.die().await;
        agent.remove(&client.uid)?;
        assert_eq!(new.grant().await?, Asked::Del(client.uid.clone()));
        let gone = || (!agent.cx.statuses.all().contains_key(&client.uid)).then_some(());
        assert!(eventually(gone).await.is_some());
        assert_eq!(setup.records()?, 1);
        agent.stop().await
    });
}

#[test]
fn a_namespace_that_goes_or_is_replaced_is_followed() {
    let test = "a_namespace_that_goes_or_is_replaced_is_followed";
    world(test, |setup| async move {
        let (agent, ztunnel) = setup.captured().await?;
        let name = setup.bench.pod.net.name();
        script(&format!("ip netns del {name}"))?;
        assert_eq!(ztunnel.grant().await?, Asked::Del(setup.uid().to_owned()));
        let waits = |s: &Status| s.capture == Capture::Pending;
        let status = agent.until(setup.uid(), waits).await?;
        assert!(status.message.contains("does not exist"), "{status:?}");
        assert_eq!(setup.records()?, 0);

        let make = |new: &str| {
            let addresses = setup.bench.told.addresses.iter();
            let add = addresses.map(|ip| format!("ip -n {new} addr add {ip} dev lo\n"));
            let add: String = add.collect();
            let lo = format!("ip -n {new} link set lo up");
            script(&format!("ip netns add {new}; {lo}\n{add}"))
        };
        make(name)?;
        ztunnel.grant_add().await?;
        agent.captured(setup.uid()).await?;

        // Replaced while no agent looked, by one that was there before the other went: the kernel may
        // give a new namespace the number of one that is gone.
        agent.stop().await?;
        make("other")?;
        script(&format!(
            "ip netns del {name}; touch /run/netns/{name}
             mount --bind /run/netns/other /run/netns/{name}"
        ))?;
        let empty = setup.bench.rules()?;
        let agent = setup.agent()?;
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        agent.tell(&setup.bench.told)?;
        let mut asked = ztunnel.asked().await?;
        if asked == Asked::Snapshot {
            ztunnel.answer(Ok(()));
            asked = ztunnel.asked().await?;
        }
        assert!(matches!(asked, Asked::Add(_)), "{asked:?}");
        assert_eq!(setup.bench.rules()?, empty, "rules before sockets");
        ztunnel.answer(Ok(()));
        agent.captured(setup.uid()).await?;
        agent.stop().await
    });
}

/// What cannot be opened just now is not gone: ztunnel is told to keep it.
#[test]
fn a_namespace_that_cannot_be_opened_for_a_while_is_kept() {
    let test = "a_namespace_that_cannot_be_opened_for_a_while_is_kept";
    world(test, |setup| async move {
        let (agent, ztunnel) = setup.captured().await?;
        let rules = setup.bench.rules()?;
        agent.stop().await?;
        ztunnel.die().await;
        let path = setup.bench.pod.net.path().display();
        script(&format!("mount --bind /dev/null {path}"))?;
        let agent = setup.agent()?;
        let ztunnel = Ztunnel::connect(&agent.socket).await?;
        assert_eq!(ztunnel.grant().await?, Asked::Keep(setup.uid().to_owned()));
        assert_eq!(ztunnel.grant().await?, Asked::Snapshot);
        let failed = |s: &Status| s.capture == Capture::Failed;
        agent.until(setup.uid(), failed).await?;
        script(&format!("umount {path}"))?;
        let again = loop {
            match ztunnel.grant().await? {
                Asked::Add(workload) => break workload,
                other => assert_eq!(other, Asked::Keep(setup.uid().to_owned())),
            }
        };
        assert!(rules.contains(&format!("--mark {:#x} ", again.mark)));
        agent.captured(setup.uid()).await?;
        assert_eq!(setup.bench.rules()?, rules);
        agent.stop().await
    });
}

/// Run a script of the node.
fn script(text: &str) -> Result<()> {
    let shell = Command::new("sh").args(["-ec", text]).status()?;
    anyhow::ensure!(shell.success(), "{text}");
    Ok(())
}

#[test]
fn a_wrong_namespace_fails_with_a_reason_and_harms_no_other_pod() {
    let name = "a_wrong_namespace_fails_with_a_reason_and_harms_no_other_pod";
    world(name, |setup| async move {
        let (agent, _ztunnel) = setup.captured().await?;
        let rules = setup.bench.rules()?;
        let failed = |s: &Status| s.capture == Capture::Failed;
        let mut stranger = told(&setup.bench.client);
        stranger.netns.clone_from(&setup.bench.told.netns);
        agent.tell(&stranger)?;
        let status = agent.until(&stranger.uid, failed).await?;
        assert!(
            status.message.contains("does not hold"),
            "{}",
            status.message
        );

        stranger.addresses.clone_from(&setup.bench.told.addresses);
        agent.tell(&stranger)?;
        let shared = |s: &Status| s.message.contains(setup.uid());
        agent.until(&stranger.uid, shared).await?;

        stranger.netns = "/proc/self/ns/net".into();
        agent.tell(&stranger)?;
        let node = |s: &Status| s.message.contains("node's own");
        agent.until(&stranger.uid, node).await?;
        assert_eq!(setup.bench.rules()?, rules);
        agent.stop().await
    });
}

#[test]
fn cleanup_takes_everything_away_but_not_from_under_an_agent() {
    let name = "cleanup_takes_everything_away_but_not_from_under_an_agent";
    world(name, |setup| async move {
        let empty = setup.bench.rules()?;
        let (agent, ztunnel) = setup.captured().await?;
        assert!(Lock::take(&setup.run_dir)?.is_none());
        agent.stop().await?;
        ztunnel.die().await;
        assert_ne!(setup.bench.rules()?, empty);
        let lock = Lock::take(&setup.run_dir)?.context("the agent ended")?;
        let store = Store::load(&setup.run_dir, lock)?;
        assert_eq!(
            cleanup::all(&setup.bench.tools, &store),
            Vec::<String>::new()
        );
        assert_eq!(setup.bench.rules()?, empty);
        assert_eq!(setup.records()?, 0);
        Ok(())
    });
}

/// Nothing of a pod that came and went stays in the agent: descriptors, tasks, records.
#[test]
fn pods_that_come_and_go_leave_nothing() {
    world("pods_that_come_and_go_leave_nothing", |setup| async move {
        let (agent, ztunnel) = setup.captured().await?;
        // Each thread of the pool keeps one of the namespace that it is at home in.
        let home = std::fs::read_link("/proc/self/ns/net")?;
        let descriptors = || {
            let open = std::fs::read_dir("/proc/self/fd")?.flatten();
            let targets = open.filter_map(|open| std::fs::read_link(open.path()).ok());
            std::io::Result::Ok(targets.filter(|target| *target != home).count())
        };
        let tasks = || {
            let live = culvert_runtime::task::live();
            live.iter()
                .find(|(name, _)| name == "pod")
                .map(|(_, count)| *count)
        };
        let (files, workers) = (descriptors()?, tasks());
        let client = told(&setup.bench.client);
        for _ in 0..3 {
            agent.tell(&client)?;
            ztunnel.grant_add().await?;
            agent.captured(&client.uid).await?;
            agent.remove(&client.uid)?;
            assert!(matches!(ztunnel.grant().await?, Asked::Del(_)));
            let ended = || (tasks() == workers).then_some(());
            assert!(eventually(ended).await.is_some(), "{:?}", tasks());
        }
        // An audit of the pod that stays may have some open for a moment.
        let closed = || (descriptors().ok()? <= files).then_some(());
        assert!(eventually(closed).await.is_some(), "{:?}", descriptors());
        assert_eq!(setup.records()?, 1);
        agent.stop().await
    });
}
