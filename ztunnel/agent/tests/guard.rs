//! Between two audits: whoever changes the rules or routes of a captured pod has them repaired at once, and whoever does
//! it again and again does not keep the node busy.

mod bench;
#[path = "bench/setup.rs"]
mod setup;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bench::ztunnel::Agent;
use culvert_agent::capture::backend::Kind;
use culvert_agent::capture::tools::Tools;
use culvert_agent::netlink::changes::Changes;
use culvert_agent::status::Status;
use setup::{Setup, world, world_of};

/// So far away that no audit comes while a test runs.
const NEVER: Duration = Duration::from_secs(3600);
/// So long after one change the next is a new matter.
const QUIET: Duration = Duration::from_millis(1200);
/// The promise.
const SOON: Duration = Duration::from_millis(500);

fn agent(setup: &Setup) -> Result<Agent> {
    Agent::auditing(&setup.run_dir, &setup.bench.tools, NEVER)
}

/// Somebody runs `change` in the pod: it is repaired soon, and counted.
async fn repaired(setup: &Setup, agent: &Agent, change: &str) -> Result<()> {
    let (bench, uid) = (&setup.bench, setup.uid());
    // Whoever changed something before is another.
    tokio::time::sleep(QUIET).await;
    let meant = bench.rules()?;
    let before = agent.captured(uid).await?.repairs;
    let changed = Instant::now();
    bench.pod.net.script(change)?;
    let counted = |s: &Status| s.repairs > before;
    agent.until(uid, counted).await.context(change.to_owned())?;
    let took = changed.elapsed();
    assert!(took < SOON, "{change}: {took:?}");
    assert_eq!(bench.rules()?, meant, "{change}");
    Ok(())
}

const ROUTES: [&str; 3] = [
    "ip rule del pref 32764",
    "ip -6 rule flush; ip -6 rule add pref 32766 lookup main",
    "ip route flush table 100; ip -6 route flush table 100",
];

#[test]
fn who_flushes_all_rules_has_them_back_at_once() {
    let name = "who_flushes_all_rules_has_them_back_at_once";
    world_of(name, Kind::IptablesNft, |setup| async move {
        let (agent, ztunnel) = setup.captured_by(agent(&setup)?).await?;
        let all = "for table in raw mangle nat filter; do
            iptables-nft -t $table -F; ip6tables-nft -t $table -F; done";
        let changes = [
            "nft flush ruleset",
            all,
            "iptables-nft -t nat -F",
            "nft delete table ip nat",
        ];
        for change in changes.into_iter().chain(ROUTES) {
            repaired(&setup, &agent, change).await?;
        }
        ztunnel.die().await;
        repaired(&setup, &agent, "nft flush ruleset").await?;
        agent.stop().await
    });
}

#[test]
fn who_flushes_the_nftables_table_has_it_back_at_once() {
    let name = "who_flushes_the_nftables_table_has_it_back_at_once";
    world_of(name, Kind::Nftables, |setup| async move {
        let (agent, _ztunnel) = setup.captured_by(agent(&setup)?).await?;
        let changes = [
            "nft flush ruleset",
            "nft flush chain inet culvert nat_output",
        ];
        for change in changes.into_iter().chain(ROUTES) {
            repaired(&setup, &agent, change).await?;
        }
        agent.stop().await
    });
}

/// The kernel tells nobody of legacy rules; of routes it does.
#[test]
fn with_legacy_iptables_the_routes_are_repaired_at_once() {
    let name = "with_legacy_iptables_the_routes_are_repaired_at_once";
    world_of(name, Kind::IptablesLegacy, |setup| async move {
        let (agent, _ztunnel) = setup.captured_by(agent(&setup)?).await?;
        for change in ROUTES {
            repaired(&setup, &agent, change).await?;
        }
        agent.stop().await
    });
}

/// The agent's own changes are told too; an audit that finds nothing makes none, so it ends there.
#[test]
fn an_audit_that_finds_nothing_tells_nothing() {
    let name = "an_audit_that_finds_nothing_tells_nothing";
    world(name, |setup| async move {
        let (site, pod) = (setup.bench.site(), &setup.bench.pod.net);
        let spec = &setup.bench.spec;
        for kind in [Kind::IptablesNft, Kind::Nftables] {
            let tools = Tools::first_of(&[kind], &setup.run_dir.join("xtables.lock"))?;
            let changes = Changes::new(site.changes()?)?;
            let told = async || tokio::time::timeout(SOON, changes.told()).await;
            let ensured = site.ensure(&tools, spec, None)?;
            told().await??;
            assert!(changes.clear()?);
            for verified in [ensured.ruleset, None] {
                let again = site.ensure(&tools, spec, verified)?;
                assert_eq!(again.drift, Vec::<String>::new());
                assert!(told().await.is_err(), "{kind:?} {verified:?}");
            }
            let route = "203.0.113.0/24 dev lo";
            pod.script(&format!("ip route add {route}; ip route del {route}"))?;
            told().await??;
            assert!(changes.clear()?);
            assert!(told().await.is_err(), "what was forgotten");
        }
        Ok(())
    });
}

#[test]
fn who_fights_is_answered_ever_more_seldom() {
    let name = "who_fights_is_answered_ever_more_seldom";
    world_of(name, Kind::Nftables, |setup| async move {
        let (agent, _ztunnel) = setup.captured_by(agent(&setup)?).await?;
        let meant = setup.bench.rules()?;
        let before = agent.captured(setup.uid()).await?.repairs;
        let net = setup.bench.pod.net.clone();
        let fight = tokio::task::spawn_blocking(move || {
            net.script("end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do nft flush ruleset; sleep 0.15; done")
        });
        fight.await??;
        let repairs = agent.captured(setup.uid()).await?.repairs - before;
        // After 10, 20, 40 ... ms; without a backoff each of some 18 flushes.
        assert!((3..=10).contains(&repairs), "{repairs}");
        let back = || {
            setup
                .bench
                .rules()
                .is_ok_and(|rules| rules == meant)
                .then_some(())
        };
        let back = bench::ztunnel::eventually(back).await;
        back.context("the rules are there when the other has ended")?;
        agent.stop().await
    });
}
