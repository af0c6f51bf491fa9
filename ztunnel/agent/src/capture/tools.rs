//! Which backend the node's pods get their rules by.
//!
//! Invariant: it is chosen once, by trying the real rules in a namespace made for that.

use std::path::Path;

use super::backend::{self, Backend, Kind};
use super::command::{ToolError, in_scratch};
use super::plan::Step;
use super::rules::{Family, Flavour, Mark, Rules, Spec};
use crate::pod::CaptureOptions;

/// iptables as the node has it first, then each variant by name.
const IPTABLES: [Kind; 3] = [Kind::Iptables, Kind::IptablesNft, Kind::IptablesLegacy];

/// What a person may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// nftables where the node's own Service rules are kept so or iptables does not work, else iptables.
    #[default]
    Auto,
    /// iptables, in the variant of the node.
    Iptables,
    /// nftables.
    Nftables,
}

/// The chosen backend.
#[derive(Clone, Debug)]
pub struct Tools {
    backend: Backend,
    ipv6: bool,
    others: Vec<Backend>,
}

impl Tools {
    /// Choose. `lock` is the lock file of legacy iptables: pods' namespaces share no rules with the
    /// host's, so the host's own lock would only delay.
    pub fn detect(choice: Choice, lock: &Path) -> Result<Self, ToolError> {
        let [node, nft, legacy] = IPTABLES;
        match choice {
            Choice::Auto if backend::kube_proxy_uses_nftables() => {
                Self::first_of(&[Kind::Nftables, node, nft, legacy], lock)
            }
            Choice::Auto => Self::first_of(&[node, nft, legacy, Kind::Nftables], lock),
            Choice::Iptables => Self::first_of(&IPTABLES, lock),
            Choice::Nftables => Self::first_of(&[Kind::Nftables], lock),
        }
    }

    /// The first of `kinds` that can hold the rules.
    pub fn first_of(kinds: &[Kind], lock: &Path) -> Result<Self, ToolError> {
        let mut failures = Vec::new();
        for &kind in kinds {
            match Self::try_kind(kind, lock) {
                Ok(tools) => return Ok(tools),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(ToolError::None(failures.join("; ")))
    }

    /// Whether IPv6 rules can be made.
    #[must_use]
    pub fn ipv6(&self) -> bool {
        self.ipv6
    }

    /// What puts the rules in force.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The backend's name, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// The same for a namespace in which others keep rules too.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            backend: self.backend.shared(),
            ipv6: self.ipv6,
            others: self.others.iter().map(Backend::shared).collect(),
        }
    }

    /// The families that the calling thread's namespace has and the node can capture.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let ipv6 = self.ipv6 && Path::new("/proc/thread-self/net/if_inet6").exists();
        let mut families = vec![Family::V4];
        families.extend(ipv6.then_some(Family::V6));
        families
    }

    /// Remove rules of `table` that another backend has put there, as before the node changed from one to
    /// the other. Those of the chosen one must be in force.
    pub fn supersede(&self, table: &str, families: &[Family]) -> Result<Vec<String>, ToolError> {
        let mut removed = Vec::new();
        for other in &self.others {
            let mut found = false;
            for step in [Step::Redirection, Step::Rest] {
                found |= other.remove(table, step, families)?;
            }
            removed.extend(found.then(|| format!("rules of {}", other.name())));
        }
        Ok(removed)
    }

    /// Take one step of `table` away, whichever backend has put it there.
    pub fn remove(&self, table: &str, step: Step, families: &[Family]) -> Result<(), ToolError> {
        for backend in [&self.backend].into_iter().chain(&self.others) {
            backend.remove(table, step, families)?;
        }
        Ok(())
    }

    fn try_kind(kind: Kind, lock: &Path) -> Result<Self, ToolError> {
        let backend = Backend::find(kind, lock)?;
        let families = [Family::V4, Family::V6];
        let ipv6 = match try_rules(&backend, &families) {
            Ok(()) => true,
            Err(error) => {
                // Which of the two it was.
                try_rules(&backend, &families[..1])?;
                tracing::warn!(%error, "IPv6 cannot be captured on this node");
                false
            }
        };
        let others = backend::others(&backend, lock);
        Ok(Self {
            backend,
            ipv6,
            others,
        })
    }
}

/// Write rules that use every match and target, and read them back.
fn try_rules(backend: &Backend, families: &[Family]) -> Result<(), ToolError> {
    in_scratch(|| {
        for flavour in [Flavour::Stock, Flavour::Culvert] {
            let rules: &dyn Rules = &sample(flavour);
            backend.ensure(rules, families)?;
            let drift = backend.drift(rules, families)?;
            if !drift.is_empty() {
                let (program, drift) = (backend.name().to_owned(), drift.join(", "));
                return Err(ToolError::ReadBack { program, drift });
            }
        }
        Ok(())
    })
}

/// Rules of which each kind occurs.
fn sample(flavour: Flavour) -> Spec {
    let nets = [[0, 0, 0, 0], [10, 0, 0, 0], [192, 0, 2, 1]];
    let v4 = nets
        .into_iter()
        .zip([0, 8, 32])
        .map(|(net, length)| (net.into(), length));
    let nets = [
        [0; 8],
        [0xfd00, 0, 0, 0, 0, 0, 0, 0],
        [0xfd00, 1, 0, 0, 0, 0, 0, 1],
    ];
    let v6 = nets
        .into_iter()
        .zip([0, 8, 128])
        .map(|(net, length)| (net.into(), length));
    let nets = v4
        .chain(v6)
        .filter_map(|(ip, length)| ipnet::IpNet::new(ip, length).ok());
    Spec {
        mark: match flavour {
            Flavour::Culvert => Mark::random(),
            Flavour::Stock => Mark::STOCK,
        },
        former: Some(Mark::STOCK),
        flavour,
        options: CaptureOptions {
            exclude_inbound_ports: [1, 8080].into(),
            exclude_outbound_ports: [65535].into(),
            exclude_outbound_cidrs: nets.collect(),
            dns_capture: true,
            probe_ports: [8080, 9000].into(),
        },
        generation: 1,
    }
}
