//! What keeps the rules of a namespace: one of the variants of iptables, or nftables.
//!
//! Invariant: both put the same rule sets in force and compare them with what can be read back.

use std::path::Path;

use super::command::{ToolError, run};
use super::iptables::Iptables;
use super::nftables::Nftables;
use super::plan::Step;
use super::rules::{Family, Rules};

/// The names by which a backend can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `iptables`, as the node has it.
    Iptables,
    /// Its variant that keeps rules in nftables.
    IptablesNft,
    /// Its variant of old.
    IptablesLegacy,
    /// `nft`.
    Nftables,
}

/// One of them, as found on this node.
#[derive(Clone, Debug)]
pub enum Backend {
    /// iptables and ip6tables.
    Iptables(Iptables),
    /// nft.
    Nftables(Nftables),
}

impl Backend {
    /// Find one; an error says why it cannot be used.
    pub fn find(kind: Kind, lock: &Path) -> Result<Self, ToolError> {
        let iptables = |variant| Iptables::find(variant, Some(lock.to_owned()));
        Ok(match kind {
            Kind::Iptables => Self::Iptables(iptables("")?),
            Kind::IptablesNft => Self::Iptables(iptables("-nft")?),
            Kind::IptablesLegacy => Self::Iptables(iptables("-legacy")?),
            Kind::Nftables => Self::Nftables(Nftables::find()?),
        })
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Iptables(iptables) if iptables.is_nft() => "iptables-nft",
            Self::Iptables(_) => "iptables-legacy",
            Self::Nftables(_) => "nftables",
        }
    }

    /// Whether the kernel's number of the nftables rule set tells of changes.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        match self {
            Self::Iptables(iptables) => iptables.is_nft(),
            Self::Nftables(_) => true,
        }
    }

    /// The same for a namespace in which others keep rules too.
    #[must_use]
    pub fn shared(&self) -> Self {
        match self {
            Self::Iptables(iptables) => Self::Iptables(iptables.with_system_lock()),
            Self::Nftables(nftables) => Self::Nftables(nftables.clone()),
        }
    }

    /// What differs from `rules` in the calling thread's namespace.
    pub fn drift(&self, rules: &dyn Rules, families: &[Family]) -> Result<Vec<String>, ToolError> {
        match self {
            Self::Iptables(tool) => each(families, |family| tool.drift(family, rules)),
            Self::Nftables(tool) => tool.drift(rules, families.contains(&Family::V6)),
        }
    }

    /// Put `rules` in force, and tell what differed.
    pub fn ensure(&self, rules: &dyn Rules, families: &[Family]) -> Result<Vec<String>, ToolError> {
        match self {
            Self::Iptables(tool) => each(families, |family| tool.ensure(family, rules)),
            Self::Nftables(tool) => tool.ensure(rules, families.contains(&Family::V6)),
        }
    }

    /// Take one step of what is in `table` away; yields whether there was something.
    pub fn remove(&self, table: &str, step: Step, families: &[Family]) -> Result<bool, ToolError> {
        match self {
            Self::Iptables(tool) => {
                let mut found = false;
                for &family in families {
                    found |= tool.remove(family, step)?;
                }
                Ok(found)
            }
            Self::Nftables(tool) => tool.remove(table, step),
        }
    }
}

/// The kinds that this node has beside `chosen`: rules of theirs may be left from before.
pub fn others(chosen: &Backend, lock: &Path) -> Vec<Backend> {
    let kinds = [Kind::IptablesNft, Kind::IptablesLegacy, Kind::Nftables];
    let found = kinds
        .into_iter()
        .filter_map(|kind| Backend::find(kind, lock).ok());
    found
        .filter(|other| other.name() != chosen.name())
        .collect()
}

/// Whether the node's Service rules are kept by nftables itself.
#[must_use]
pub fn kube_proxy_uses_nftables() -> bool {
    let tables = run("nft", &["list", "tables"], "", None).unwrap_or_default();
    tables
        .lines()
        .any(|line| line.split(' ').next_back() == Some("kube-proxy"))
}

fn each(
    families: &[Family],
    f: impl Fn(Family) -> Result<Vec<String>, ToolError>,
) -> Result<Vec<String>, ToolError> {
    let mut drift = Vec::new();
    for &family in families {
        drift.extend(
            f(family)?
                .into_iter()
                .map(|each| format!("{family} {each}")),
        );
    }
    Ok(drift)
}
