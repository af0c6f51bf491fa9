//! Rules kept by `iptables` and `ip6tables`, in the variant of the node.
//!
//! Invariant: each table of each family is one transaction.

use std::path::PathBuf;

use super::command::{ToolError, run};
use super::plan::{self, Step};
use super::rules::{Family, Rules, TABLES};
use super::saved::Saved;

/// How long to wait for another program that holds the lock of the legacy variant.
const LOCK_SECONDS: &str = "5";

/// One variant of iptables.
#[derive(Clone, Debug)]
pub struct Iptables {
    variant: &'static str,
    nft: bool,
    /// Lock of the legacy variant; the system's own without it.
    lock: Option<PathBuf>,
}

impl Iptables {
    /// The variant that stands between `iptables` and `-restore`, if there is one.
    pub fn find(variant: &'static str, lock: Option<PathBuf>) -> Result<Self, ToolError> {
        let mut found = Self {
            variant,
            nft: false,
            lock,
        };
        let version = found.run(&found.program(Family::V4, ""), &["--version"], "")?;
        found.nft = version.contains("nf_tables");
        Ok(found)
    }

    /// The same with the system's own lock, for the namespace in which others keep rules too.
    #[must_use]
    pub fn with_system_lock(&self) -> Self {
        Self {
            lock: None,
            ..self.clone()
        }
    }

    /// Whether rules are kept by nftables underneath.
    #[must_use]
    pub fn is_nft(&self) -> bool {
        self.nft
    }

    /// What differs from `rules`.
    pub fn drift(&self, family: Family, rules: &dyn Rules) -> Result<Vec<String>, ToolError> {
        Ok(plan::drift(&self.save(family)?, &rules.tables(family)))
    }

    /// Make it as `rules` say, and tell what differed.
    pub fn ensure(&self, family: Family, rules: &dyn Rules) -> Result<Vec<String>, ToolError> {
        let (tables, saved) = (rules.tables(family), self.save(family)?);
        let drift = plan::drift(&saved, &tables);
        if !drift.is_empty() {
            self.restore(family, &plan::apply(&saved, &tables))?;
        }
        Ok(drift)
    }

    /// Take one step away; yields whether there was something.
    pub fn remove(&self, family: Family, step: Step) -> Result<bool, ToolError> {
        let script = plan::remove(&self.save(family)?, step);
        if script.is_empty() {
            return Ok(false);
        }
        self.restore(family, &script)?;
        Ok(true)
    }

    fn save(&self, family: Family) -> Result<Saved, ToolError> {
        let program = self.program(family, "-save");
        let whole = self.run(&program, &[], "");
        let text = match whole {
            Err(ToolError::Failed { .. }) if !self.nft => {
                // The legacy variant's list of tables is for root's eyes only, the tables are not.
                let tables = TABLES.map(|table| self.run(&program, &["-t", table], ""));
                tables.into_iter().collect::<Result<String, _>>()?
            }
            whole => whole?,
        };
        Ok(Saved::parse(&text))
    }

    fn restore(&self, family: Family, script: &str) -> Result<(), ToolError> {
        let program = self.program(family, "-restore");
        self.run(&program, &["--noflush", "-w", LOCK_SECONDS], script)?;
        Ok(())
    }

    fn program(&self, family: Family, suffix: &str) -> String {
        let base = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{base}{}{suffix}", self.variant)
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
        run(program, arguments, input, self.lock.as_deref())
    }
}
