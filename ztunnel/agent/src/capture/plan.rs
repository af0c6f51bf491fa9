//! The difference between the rules that are there and those that were meant, and the input for
//! `iptables-restore` that removes it. Pure.
//!
//! Invariant: a plan deletes only jumps into our chains and changes only our chains; each table is
//! one transaction, before and after which its capture is whole.

use std::fmt::Write as _;

use super::rules::Table;
use super::saved::Saved;

/// The two steps in which capture is taken away. Between them the connections end that ztunnel carries to
/// the pod's applications, whose answers would leave the pod in the clear without the rules of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New connections are no longer captured.
    Redirection,
    /// Nothing is left.
    Rest,
}

impl Step {
    fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Redirection => &["filter", "nat"],
            Self::Rest => &["mangle", "raw"],
        }
    }
}

/// What differs, table by table, in words. Empty means that all is as meant.
#[must_use]
pub fn drift(saved: &Saved, meant: &[Table]) -> Vec<String> {
    let mut drift = Vec::new();
    for table in meant {
        let name = table.name;
        for (chain, rules) in &table.chains {
            match saved.chain(name, chain) {
                None => drift.push(format!("{name}: no chain {chain}")),
                Some(found) if found != rules.as_slice() => {
                    drift.push(format!("{name}: rules of {chain} differ"));
                }
                Some(_) => {}
            }
        }
        for (chain, jump) in &table.jumps {
            let found = saved.chain(name, chain).unwrap_or_default();
            let elsewhere = !table.first && found.contains(jump);
            if found.first() != Some(jump) && !elsewhere {
                let found = found.first().map_or("nothing", String::as_str);
                drift.push(format!("{name}: {chain} begins with {found:?}"));
            }
        }
        let own = |chain: &str| table.chains.iter().any(|(own, _)| *own == chain);
        for chain in saved.own_chains(name).filter(|chain| !own(chain)) {
            drift.push(format!("{name}: chain {chain} is not of this version"));
        }
        let extra = saved.jumps(name).count().saturating_sub(table.jumps.len());
        if extra > 0 {
            drift.push(format!("{name}: {extra} jumps too many"));
        }
    }
    drift
}

/// Input for `iptables-restore --noflush` that turns what is there into what was meant.
#[must_use]
pub fn apply(saved: &Saved, meant: &[Table]) -> String {
    let mut script = String::new();
    for table in meant {
        let name = table.name;
        line(&mut script, format_args!("*{name}"));
        for (chain, _) in &table.chains {
            // Makes the chain, or empties it.
            line(&mut script, format_args!(":{chain} - [0:0]"));
        }
        for (chain, rules) in &table.chains {
            for rule in rules {
                line(&mut script, format_args!("-A {chain} {rule}"));
            }
        }
        unjump(&mut script, saved, name);
        for (chain, jump) in &table.jumps {
            line(&mut script, format_args!("-I {chain} 1 {jump}"));
        }
        let own = |chain: &str| table.chains.iter().any(|(own, _)| *own == chain);
        delete(
            &mut script,
            saved.own_chains(name).filter(|chain| !own(chain)),
        );
        line(&mut script, format_args!("COMMIT"));
    }
    script
}

/// Input for `iptables-restore --noflush` that takes one step of capture away; empty if there is nothing.
#[must_use]
pub fn remove(saved: &Saved, step: Step) -> String {
    let mut script = String::new();
    for &table in step.tables() {
        if saved.own_chains(table).next().is_none() && saved.jumps(table).next().is_none() {
            continue;
        }
        line(&mut script, format_args!("*{table}"));
        unjump(&mut script, saved, table);
        delete(&mut script, saved.own_chains(table));
        line(&mut script, format_args!("COMMIT"));
    }
    script
}

fn unjump(script: &mut String, saved: &Saved, table: &str) {
    for (chain, rule) in saved.jumps(table) {
        line(script, format_args!("-D {chain} {rule}"));
    }
}

/// Delete chains, of which one may jump into another.
fn delete<'a>(script: &mut String, chains: impl Iterator<Item = &'a str>) {
    let chains: Vec<&str> = chains.collect();
    for chain in &chains {
        line(script, format_args!("-F {chain}"));
    }
    for chain in &chains {
        line(script, format_args!("-X {chain}"));
    }
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant() -> [Table; 1] {
        [Table {
            name: "nat",
            first: true,
            jumps: vec![(
                "OUTPUT",
                "-m comment --comment \"g 1\" -j CULVERT_OUTPUT".into(),
            )],
            chains: vec![("CULVERT_OUTPUT", vec!["-o lo -j RETURN".into()])],
        }]
    }

    const GOOD: &str = "*nat\n:OUTPUT ACCEPT [0:0]\n:CULVERT_OUTPUT - [0:0]\n\
        -A OUTPUT -m comment --comment \"g 1\" -j CULVERT_OUTPUT\n-A OUTPUT -j LOG\n\
        -A CULVERT_OUTPUT -o lo -j RETURN\nCOMMIT\n";

    #[test]
    fn foreign_rules_after_ours_are_no_drift() {
        assert_eq!(drift(&Saved::parse(GOOD), &meant()), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_drift_is_seen() {
        let jump = "-A OUTPUT -m comment --comment \"g 1\" -j CULVERT_OUTPUT\n";
        for (broken, expected) in [
            (String::new(), "no chain CULVERT_OUTPUT"),
            (
                GOOD.replace("-A CULVERT_OUTPUT -o lo -j RETURN\n", ""),
                "differ",
            ),
            (GOOD.replace(jump, ""), "begins with \"-j LOG\""),
            (GOOD.replace("g 1", "g 0"), "begins with"),
            (
                GOOD.replace(jump, &format!("-A OUTPUT -j ACCEPT\n{jump}")),
                "-j ACCEPT",
            ),
            (
                GOOD.replace(jump, &format!("{jump}{jump}")),
                "1 jumps too many",
            ),
            (
                GOOD.replace(":CULV", ":CULVERT_OLD - [0:0]\n:CULV"),
                "CULVERT_OLD",
            ),
        ] {
            let drift = drift(&Saved::parse(&broken), &meant());
            assert!(
                drift.iter().any(|d| d.contains(expected)),
                "{expected}: {drift:?}"
            );
        }
    }

    #[test]
    fn a_plan_names_nothing_foreign() {
        let saved = Saved::parse(&GOOD.replace("g 1", "g 0"));
        let script = apply(&saved, &meant());
        let expected = "*nat\n:CULVERT_OUTPUT - [0:0]\n-A CULVERT_OUTPUT -o lo -j RETURN\n\
            -D OUTPUT -m comment --comment \"g 0\" -j CULVERT_OUTPUT\n\
            -I OUTPUT 1 -m comment --comment \"g 1\" -j CULVERT_OUTPUT\nCOMMIT\n";
        assert_eq!(script, expected);
    }

    #[test]
    fn removal_takes_each_table_in_its_step_and_stops_when_nothing_is_left() {
        let saved = Saved::parse(GOOD);
        let expected = "*nat\n-D OUTPUT -m comment --comment \"g 1\" -j CULVERT_OUTPUT\n\
            -F CULVERT_OUTPUT\n-X CULVERT_OUTPUT\nCOMMIT\n";
        assert_eq!(remove(&saved, Step::Redirection), expected);
        assert_eq!(remove(&saved, Step::Rest), "");
        assert_eq!(remove(&Saved::default(), Step::Redirection), "");
    }
}
