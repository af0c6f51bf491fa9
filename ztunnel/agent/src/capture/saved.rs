//! What `iptables-save` printed: the rules that are there, ours and others'.

use std::collections::BTreeMap;

use super::rules::CHAIN_PREFIX;

/// The rules of one family in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    tables: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Saved {
    /// Read the output of `iptables-save`. What is not a table, a chain or a rule is passed over: comments,
    /// and what a newer version may add.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = &mut BTreeMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = saved.tables.entry(name.to_owned()).or_default();
            } else if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split(' ').next().unwrap_or_default();
                table.entry(name.to_owned()).or_default();
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
                let rules = table.entry(chain.to_owned()).or_default();
                rules.push(rule.to_owned());
            }
        }
        saved
    }

    /// The rules of a chain; `None` if there is no such chain.
    #[must_use]
    pub fn chain(&self, table: &str, chain: &str) -> Option<&[String]> {
        Some(self.tables.get(table)?.get(chain)?)
    }

    /// Rules of `table` that jump into a chain of ours from a chain that is not: chain and rule.
    pub fn jumps<'a>(&'a self, table: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let chains = self.tables.get(table).into_iter().flatten();
        let foreign = chains.filter(|(name, _)| !name.starts_with(CHAIN_PREFIX));
        foreign.flat_map(|(name, rules)| {
            let jumps = rules.iter().filter(|rule| jumps_into_ours(rule));
            jumps.map(|rule| (name.as_str(), rule.as_str()))
        })
    }

    /// Names of our chains in `table`.
    pub fn own_chains<'a>(&'a self, table: &str) -> impl Iterator<Item = &'a str> {
        let chains = self.tables.get(table).into_iter().flatten();
        let names = chains.map(|(name, _)| name.as_str());
        names.filter(|name| name.starts_with(CHAIN_PREFIX))
    }

    /// Names of the tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }
}

/// Whether the rule's target is a chain of ours. Others' comments may contain anything.
fn jumps_into_ours(rule: &str) -> bool {
    let mut words = words(rule).skip_while(|word| !matches!(*word, "-j" | "-g"));
    words
        .nth(1)
        .is_some_and(|target| target.starts_with(CHAIN_PREFIX))
}

/// The words of a rule; what stands in double quotes, in which a backslash escapes, is part of one.
fn words(rule: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    rule.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ' ' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Generated\n*nat\n:OUTPUT ACCEPT [0:0]\n:OTHER - [0:0]\n\
        :CULVERT_OUTPUT - [0:0]\n-A OUTPUT -p tcp -j OTHER\n-A OUTPUT -j CULVERT_OUTPUT\n\
        -A OTHER -g CULVERT_OUTPUT\n-A OTHER\n-A CULVERT_OUTPUT -o lo -j RETURN\nCOMMIT\n";

    #[test]
    fn finds_chains_rules_and_jumps() {
        let saved = Saved::parse(TEXT);
        assert_eq!(
            saved.chain("nat", "CULVERT_OUTPUT").unwrap(),
            ["-o lo -j RETURN"]
        );
        assert_eq!(saved.chain("nat", "OTHER").unwrap().len(), 2);
        assert_eq!(saved.chain("mangle", "OUTPUT"), None);
        let jumps: Vec<_> = saved.jumps("nat").collect();
        assert_eq!(
            jumps,
            [
                ("OTHER", "-g CULVERT_OUTPUT"),
                ("OUTPUT", "-j CULVERT_OUTPUT")
            ]
        );
        assert_eq!(
            saved.own_chains("nat").collect::<Vec<_>>(),
            ["CULVERT_OUTPUT"]
        );
    }

    #[test]
    fn a_comment_is_no_target() {
        assert!(jumps_into_ours(
            "-m comment --comment \"a \\\" b\" -j CULVERT_X"
        ));
        for foreign in [
            "-m comment --comment \"not -j CULVERT_X\" -j DOCKER",
            "-m comment --comment \"not \\\" -j CULVERT_X\" -j DOCKER",
            "-j DOCKER",
            "-j",
        ] {
            assert!(!jumps_into_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn rules_before_any_table_belong_to_none() {
        assert_eq!(
            Saved::parse(":X - [0:0]\n-A X -j RETURN\n"),
            Saved::default()
        );
    }
}
