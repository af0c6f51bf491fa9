//! Rules kept by `nft`, in a table of our own for both families.
//!
//! Invariants: whatever the change, it is one transaction; no other table is read or changed. What was
//! meant is compared as the same program prints it from a namespace of its own, because versions print
//! the same rule in different words.

use super::command::{ToolError, in_scratch, run};
use super::plan::Step;
use super::rules::Rules;

/// What the program says of a table that is not there.
const ABSENT: &str = "No such file or directory";

/// The chains that [`Step::Redirection`] empties begin so. They stay until the end: with the last chain
/// that translates, the kernel would stop translating connections that are open.
const REDIRECTION: [&str; 2] = ["nat_", "filter_"];

/// The program `nft`.
#[derive(Clone, Debug)]
pub struct Nftables;

impl Nftables {
    /// Whether the program is there.
    pub fn find() -> Result<Self, ToolError> {
        run("nft", &["--version"], "", None)?;
        Ok(Self)
    }

    /// What differs from `rules`.
    pub fn drift(&self, rules: &dyn Rules, ipv6: bool) -> Result<Vec<String>, ToolError> {
        let meant = in_scratch(|| {
            self.change(&replace(rules, ipv6))?;
            self.list(rules.table())
        })?;
        let meant = meant.unwrap_or_default();
        Ok(match self.list(rules.table())? {
            Some(found) => differences(&found, &meant),
            None => vec![format!("no table {}", rules.table())],
        })
    }

    /// Make it as `rules` say, and tell what differed.
    pub fn ensure(&self, rules: &dyn Rules, ipv6: bool) -> Result<Vec<String>, ToolError> {
        let drift = self.drift(rules, ipv6)?;
        if !drift.is_empty() {
            self.change(&replace(rules, ipv6))?;
        }
        Ok(drift)
    }

    /// Take one step away; yields whether there was something.
    pub fn remove(&self, table: &str, step: Step) -> Result<bool, ToolError> {
        let Some(found) = self.list(table)? else {
            return Ok(false);
        };
        match step {
            Step::Redirection => {
                let names = blocks(&found).into_iter().filter_map(|(name, _)| name);
                let taken = names.filter(|name| REDIRECTION.iter().any(|p| name.starts_with(p)));
                let flush = |name| format!("flush chain inet {table} {name}\n");
                self.change(&taken.map(flush).collect::<String>())?;
            }
            Step::Rest => self.change(&format!("delete table inet {table}\n"))?,
        }
        Ok(true)
    }

    fn list(&self, table: &str) -> Result<Option<String>, ToolError> {
        let arguments = ["-nn", "-s", "list", "table", "inet", table];
        match run("nft", &arguments, "", None) {
            Err(ToolError::Failed { message, .. }) if message.contains(ABSENT) => Ok(None),
            listed => listed.map(Some),
        }
    }

    fn change(&self, script: &str) -> Result<(), ToolError> {
        run("nft", &["-f", "-"], script, None)?;
        Ok(())
    }
}

/// Puts the table in place of whatever it holds now.
fn replace(rules: &dyn Rules, ipv6: bool) -> String {
    let (table, mut script) = (rules.table(), String::new());
    // Deleting what is not there would fail.
    script.push_str(&format!(
        "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n"
    ));
    for (name, hook, lines) in rules.chains(ipv6) {
        script.push_str(&format!("chain {name} {{\n"));
        if !hook.is_empty() {
            script.push_str(&format!("type {hook}; policy accept;\n"));
        }
        for line in lines {
            script.push_str(&line);
            script.push('\n');
        }
        script.push_str("}\n");
    }
    script.push_str("}\n");
    script
}

/// What differs between two listings of a table, chain by chain.
fn differences(found: &str, meant: &str) -> Vec<String> {
    if found == meant {
        return Vec::new();
    }
    let (found, meant) = (blocks(found), blocks(meant));
    let mut drift = Vec::new();
    for (name, lines) in &meant {
        let word = name.unwrap_or("the table itself");
        match found.iter().find(|(other, _)| other == name) {
            None => drift.push(format!("no chain {word}")),
            Some((_, other)) if other != lines => drift.push(format!("rules of {word} differ")),
            Some(_) => {}
        }
    }
    for (name, _) in &found {
        if !meant.iter().any(|(other, _)| other == name) {
            let name = name.unwrap_or("table");
            drift.push(format!("chain {name} is not of this version"));
        }
    }
    if drift.is_empty() {
        drift.push("the chains stand in another order".to_owned());
    }
    drift
}

/// The chains of a listing with their lines; what stands in none of them has no name.
fn blocks(listing: &str) -> Vec<(Option<&str>, Vec<&str>)> {
    let mut blocks = vec![(None, Vec::new())];
    for line in listing.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let chain = line.strip_prefix("chain ");
        if let Some(name) = chain.and_then(|rest| rest.strip_suffix(" {")) {
            blocks.push((Some(name), Vec::new()));
        } else if let Some((_, lines)) = blocks.last_mut() {
            lines.push(line);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet culvert {\n\tchain nat_output {\n\t\ttype nat hook output \
        priority -101; policy accept;\n\t\toifname \"lo\" return\n\t}\n\n\tchain other {\n\t}\n}\n";

    #[test]
    fn a_difference_is_named_by_its_chain() {
        assert_eq!(differences(LISTING, LISTING), Vec::<String>::new());
        for (broken, expected) in [
            (LISTING.replace("lo", "eth0"), "rules of nat_output differ"),
            (
                LISTING.replace("chain other {\n\t}\n", ""),
                "no chain other",
            ),
            (LISTING.replace("other", "more"), "chain more is not"),
            (
                LISTING.replace("culvert {\n", "culvert {\n\tflags dormant\n"),
                "the table itself",
            ),
        ] {
            let drift = differences(&broken, LISTING);
            assert!(
                drift.iter().any(|d| d.contains(expected)),
                "{expected}: {drift:?}"
            );
        }
    }
}
