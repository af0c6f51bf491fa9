//! The rules as such: what is written is what is read back, every change of them is noticed and undone,
//! an interruption anywhere is made good, other people's rules stay, and leaving leaves nothing.

mod bench;

use anyhow::Result;
use bench::Bench;
use culvert_agent::capture::backend::Kind;
use culvert_agent::capture::plan::{self, Step};
use culvert_agent::capture::rules::Family;
use culvert_agent::capture::saved::Saved;
use culvert_agent::capture::tools::Tools;
use culvert_agent::capture::{CaptureError, Site};
use culvert_lab::Lab;

fn each_backend(name: &str, body: impl Fn(&Bench) -> Result<()>) {
    culvert_lab::test(name, |lab: &Lab| bench::each_backend(lab, &body));
}

/// Each variant of iptables.
fn iptables(name: &str, body: impl Fn(&Bench) -> Result<()>) {
    each_backend(name, |bench| match bench.tools.name() {
        "nftables" => Ok(()),
        _ => body(bench),
    });
}

/// Rules that somebody else has, in tables and chains that ours use too.
const FOREIGN: &str = "
    IPT -t nat -N DOCKER
    IPT -t nat -A OUTPUT -p tcp -m comment --comment \"not -j CULVERT_OUTPUT\" -j DOCKER
    IPT -t nat -A DOCKER -j RETURN
    IPT -t filter -A INPUT -p udp -m udp --dport 9 -j DROP
    IPT -t mangle -A POSTROUTING -j MARK --set-xmark 0x1/0x1";

fn foreign(bench: &Bench) -> Result<()> {
    let variant = bench.variant();
    for tool in ["iptables", "ip6tables"] {
        let script = FOREIGN.replace("IPT", &format!("{tool}{variant}"));
        bench.pod.net.script(&script)?;
    }
    Ok(())
}

#[test]
fn what_is_in_force_is_known_and_left_alone() {
    each_backend("what_is_in_force_is_known_and_left_alone", |bench| {
        assert!(!bench.ensure().is_empty());
        let rules = bench.rules()?;
        assert!(rules.contains("culvert generation 1"), "{rules}");
        assert_eq!(bench.ensure(), Vec::<String>::new());
        assert_eq!(bench.rules()?, rules);
        Ok(())
    });
}

#[test]
fn every_change_is_noticed_and_undone() {
    iptables("every_change_is_noticed_and_undone", |bench| {
        foreign(bench)?;
        bench.ensure();
        let meant = bench.rules()?;
        let mark = bench.spec.mark;
        let changes = [
            (
                "nat CULVERT_OUTPUT flushed",
                "IPT -t nat -F CULVERT_OUTPUT".to_owned(),
            ),
            ("a jump deleted", "IPT -t mangle -D PREROUTING 1".to_owned()),
            (
                "a jump made twice",
                "IPT -t nat -A OUTPUT -j CULVERT_OUTPUT".to_owned(),
            ),
            (
                "a rule deleted",
                format!("IPT -t filter -D CULVERT_OUTPUT -m mark --mark {mark} -j RETURN"),
            ),
            (
                "a rule added",
                "IPT -t nat -I CULVERT_OUTPUT -p tcp -j RETURN".to_owned(),
            ),
            (
                "a foreign rule before ours",
                "IPT -t nat -I OUTPUT -p tcp -j ACCEPT".to_owned(),
            ),
            (
                "a chain of ours added",
                "IPT -t nat -N CULVERT_OLD".to_owned(),
            ),
            (
                "the table raw emptied",
                "IPT -t raw -F; IPT -t raw -X".to_owned(),
            ),
            (
                "the way out opened",
                "IPT -t mangle -F CULVERT_POSTROUTING".to_owned(),
            ),
            (
                "the policy rule deleted",
                "IP rule del pref 32764".to_owned(),
            ),
            (
                "the local route deleted",
                "IP route flush table 100".to_owned(),
            ),
        ];
        let variant = bench.variant();
        for (what, change) in changes {
            for (ipt, ip) in [("iptables", "ip -4"), ("ip6tables", "ip -6")] {
                let script = change.replace("IPT", &format!("{ipt}{variant}"));
                bench
                    .pod
                    .net
                    .script(&script.replace("IP ", &format!("{ip} ")))?;
                assert!(!bench.ensure().is_empty(), "{what}: not noticed ({ipt})");
                if what == "a foreign rule before ours" {
                    // It stays, behind ours.
                    let undo = format!("{ipt}{variant} -t nat -D OUTPUT -p tcp -j ACCEPT");
                    bench.pod.net.script(&undo)?;
                }
                assert_eq!(bench.rules()?, meant, "{what}: not undone ({ipt})");
                assert_eq!(bench.ensure(), Vec::<String>::new(), "{what}");
            }
        }
        Ok(())
    });
}

/// What may be done to the table of nftables, by whoever may do it.
#[test]
fn every_change_of_the_nftables_table_is_noticed_and_undone() {
    let name = "every_change_of_the_nftables_table_is_noticed_and_undone";
    culvert_lab::test(name, |lab| {
        let bench = Bench::with(lab, Kind::Nftables)?;
        let foreign = "nft add table inet theirs
            nft 'add chain inet theirs out { type nat hook output priority -150; }'
            nft 'add rule inet theirs out oifname \"lo\" accept'";
        bench.pod.net.script(foreign)?;
        let theirs = || bench.pod.net.script("nft list table inet theirs");
        let before = theirs()?;
        bench.ensure();
        let meant = bench.rules()?;
        let last_handle = "nft -a list chain inet culvert filter_output |
             sed -n 's/.*return.*handle //p' | tail -1";
        for (what, change) in [
            ("a chain flushed", "nft flush chain inet culvert nat_output"),
            ("all flushed", "nft flush table inet culvert"),
            ("the table deleted", "nft delete table inet culvert"),
            (
                "a rule added in front",
                "nft insert rule inet culvert nat_output accept",
            ),
            (
                "a rule added behind",
                "nft add rule inet culvert mangle_output accept",
            ),
            (
                "a rule deleted",
                &format!("nft delete rule inet culvert filter_output handle $({last_handle})"),
            ),
            ("a chain added", "nft add chain inet culvert more"),
            (
                "the table asleep",
                "nft 'add table inet culvert { flags dormant; }'",
            ),
            (
                "a policy",
                "nft 'add chain inet culvert filter_input { policy drop; }'",
            ),
            ("the policy rule deleted", "ip rule del pref 32764"),
            ("the local route deleted", "ip -6 route flush table 100"),
        ] {
            let undisturbed = bench.site().ensure(&bench.tools, &bench.spec, None)?;
            bench.pod.net.script(change)?;
            let found = bench
                .site()
                .ensure(&bench.tools, &bench.spec, undisturbed.ruleset)?;
            assert!(!found.drift.is_empty(), "{what}: not noticed");
            assert_eq!(bench.rules()?, meant, "{what}: not undone");
            assert_eq!(bench.ensure(), Vec::<String>::new(), "{what}");
        }
        // Released halfway, and enrolled again.
        bench.remove(Step::Redirection);
        assert!(!bench.ensure().is_empty());
        assert_eq!(bench.rules()?, meant);
        assert_eq!(theirs()?, before);
        Ok(())
    });
}

/// A node that changes from one backend to another: the new rules are in force before the old ones go, and
/// what was open goes on.
#[test]
fn rules_of_another_backend_are_superseded() {
    culvert_lab::test("rules_of_another_backend_are_superseded", |lab| {
        let kinds = [Kind::IptablesNft, Kind::IptablesLegacy, Kind::Nftables];
        for from in kinds {
            let mut bench = Bench::with(lab, from)?;
            let ztunnel = bench::Ztunnel::open(&bench.pod.net, bench.spec.mark.value)?;
            let other = |kind| Tools::first_of(&[kind], &lab.dir().join("xtables.lock"));
            for to in kinds.into_iter().filter(|&to| to != from) {
                bench.tools = other(from)?;
                bench.ensure();
                let open = bench::connect(&bench.pod.net, "192.0.2.7:8080".parse()?)?;
                let (taken, _) = bench::accept(&ztunnel.outbound);
                let old = bench.rules()?;
                assert!(old.contains("culvert generation"), "{old}");

                bench.tools = other(to)?;
                let drift = bench.ensure();
                let superseded = |d: &String| d.starts_with("rules of ");
                assert!(drift.iter().any(superseded), "{from:?} {to:?}: {drift:?}");
                bench::talk(&open, &taken);
                assert_eq!(bench.ensure(), Vec::<String>::new());
                let new = bench.rules()?;
                assert!(new.contains("culvert generation"), "{new}");
                bench.tools = other(from)?;
                assert!(
                    !bench
                        .site()
                        .ensure(&bench.tools, &bench.spec, None)?
                        .drift
                        .is_empty()
                );
            }
            lab.remove_pod(&bench.pod)?;
            lab.remove_pod(&bench.client)?;
        }
        Ok(())
    });
}

/// An unchanged number of the rule set spares reading the rules, a changed one does not.
#[test]
fn a_verified_rule_set_is_read_again_when_it_changes() {
    culvert_lab::test("a_verified_rule_set_is_read_again_when_it_changes", |lab| {
        for kind in [Kind::IptablesNft, Kind::Nftables] {
            let bench = Bench::with(lab, kind)?;
            let ensure = |verified| bench.site().ensure(&bench.tools, &bench.spec, verified);
            let first = ensure(None)?;
            assert!(first.ruleset.is_some());
            let second = ensure(first.ruleset)?;
            assert_eq!((second.drift.len(), second.ruleset), (0, first.ruleset));
            bench.flush("nat")?;
            assert!(!ensure(first.ruleset)?.drift.is_empty());
            bench.pod.net.script("ip rule del pref 32764")?;
            assert_eq!(ensure(first.ruleset)?.drift.len(), 1);
            lab.remove_pod(&bench.pod)?;
            lab.remove_pod(&bench.client)?;
        }
        Ok(())
    });
}

/// An agent that died between two tables, or between the families, leaves a prefix of its work.
#[test]
fn an_interrupted_start_or_end_is_made_good() {
    iptables("an_interrupted_start_or_end_is_made_good", |bench| {
        let before = bench.rules()?;
        let tables = bench.spec.tables(Family::V4);
        let script = plan::apply(&Saved::default(), &tables);
        bench.ensure();
        let whole = bench.rules()?;
        for step in [Step::Redirection, Step::Rest] {
            bench.remove(step);
        }
        assert_eq!(bench.rules()?, before);

        let variant = bench.variant();
        let mut prefix = String::new();
        for table in script.split_inclusive("COMMIT\n") {
            prefix.push_str(table);
            let file = bench.pod.net.name().to_owned() + ".rules";
            let file = std::path::Path::new("/run").join(file);
            std::fs::write(&file, &prefix)?;
            let restore = format!("iptables{variant}-restore --noflush < {}", file.display());
            bench.pod.net.script(&restore)?;
            assert!(!bench.ensure().is_empty());
            assert_eq!(bench.rules()?, whole);
            bench.remove(Step::Redirection);
            if table.starts_with("*nat") {
                // Re-enrolled after half of a release.
                bench.ensure();
                assert_eq!(bench.rules()?, whole);
                bench.remove(Step::Redirection);
            }
            bench.remove(Step::Rest);
            assert_eq!(bench.rules()?, before);
        }
        Ok(())
    });
}

#[test]
fn leaving_restores_exactly_what_was_there() {
    each_backend("leaving_restores_exactly_what_was_there", |bench| {
        foreign(bench)?;
        bench
            .pod
            .net
            .script("ip rule add fwmark 0x7 lookup 100 pref 500")?;
        let before = bench.rules()?;
        bench.ensure();
        assert_ne!(bench.rules()?, before);
        bench.remove(Step::Redirection);
        bench.remove(Step::Rest);
        assert_eq!(bench.rules()?, before);
        // And once more, with nothing there.
        bench.remove(Step::Redirection);
        bench.remove(Step::Rest);
        assert_eq!(bench.rules()?, before);
        Ok(())
    });
}

#[test]
fn other_rules_replace_those_of_the_last_generation() {
    each_backend(
        "other_rules_replace_those_of_the_last_generation",
        |bench| {
            bench.ensure();
            let mut next = bench.spec.clone();
            next.generation = 2;
            next.options.dns_capture = false;
            next.options.exclude_outbound_ports.insert(5432);
            let drift = bench.site().ensure(&bench.tools, &next, None)?.drift;
            assert!(!drift.is_empty());
            let rules = bench.rules()?;
            assert!(rules.contains("culvert generation 2") && rules.contains("dport 5432"));
            let old = rules.contains("generation 1") || rules.contains("TPROXY");
            assert!(!old && !rules.contains("tproxy"), "{rules}");
            Ok(())
        },
    );
}

#[test]
fn a_namespace_that_is_not_the_pods_is_refused() {
    culvert_lab::test("a_namespace_that_is_not_the_pods_is_refused", |lab| {
        let bench = Bench::new(lab)?;
        let refusal = |netns: &std::path::Path| {
            let mut told = bench.told.clone();
            told.netns = netns.into();
            Site::of(&told, &bench.tools).expect_err("it is not the pod's")
        };
        let error = refusal(bench.client.net.path());
        assert!(matches!(error, CaptureError::Address { .. }), "{error}");
        let error = refusal(std::path::Path::new("/proc/self/ns/net"));
        assert!(matches!(error, CaptureError::Node(_)), "{error}");
        let error = refusal(std::path::Path::new("/run/netns/none"));
        assert!(matches!(error, CaptureError::Vanished(_)), "{error}");
        let error = refusal(std::path::Path::new("/proc/self/status"));
        assert!(matches!(error, CaptureError::Netns(_)), "{error}");
        let error = refusal(std::path::Path::new("/proc/self/ns/mnt"));
        assert!(matches!(error, CaptureError::Netns(_)), "{error}");
        Ok(())
    });
}

/// Pods often have IPv6 switched off: no route can be added, none is needed, and IPv4 is captured.
#[test]
fn a_namespace_without_ipv6_is_captured_and_one_that_gets_it_too() {
    let name = "a_namespace_without_ipv6_is_captured_and_one_that_gets_it_too";
    culvert_lab::test(name, |lab| {
        let mut bench = Bench::new(lab)?;
        bench.told.addresses.retain(std::net::IpAddr::is_ipv4);
        let switch = |value: u8| {
            let files = "/proc/sys/net/ipv6/conf";
            let set = format!("for i in all lo; do echo {value} > {files}/$i/disable_ipv6; done");
            bench.pod.net.script(&set)
        };
        switch(1)?;
        bench.ensure();
        assert_eq!(bench.ensure(), Vec::<String>::new());
        switch(0)?;
        assert_eq!(bench.ensure().len(), 2, "rule and route of IPv6");
        assert_eq!(bench.ensure(), Vec::<String>::new());
        Ok(())
    });
}
