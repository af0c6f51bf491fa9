//! Which iptables the node has, and running it.
//!
//! Invariant: everything here acts on the network namespace of the calling thread, which its children
//! inherit; variants are chosen once, by trying the real rules in a namespace made for that.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::plan;
use super::rules::{Family, Flavour, Mark, Spec, TABLES};
use super::saved::Saved;
use crate::pod::CaptureOptions;

/// The node's own choice first, then each variant by name.
const VARIANTS: [&str; 3] = ["", "-nft", "-legacy"];
/// How long to wait for another program that holds the lock of the legacy variant.
const LOCK_SECONDS: &str = "5";

/// The chosen variant.
#[derive(Clone, Debug)]
pub struct Tools {
    variant: &'static str,
    nft: bool,
    ipv6: bool,
    lock: PathBuf,
}

/// Why iptables did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be run.
    #[error("{program}: {source}")]
    Run {
        /// Its name.
        program: String,
        /// What went wrong.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// Its name.
        program: String,
        /// What it wrote to stderr.
        message: String,
    },
    /// It succeeded, but what can be read back is something else.
    #[error("{program} reads back other rules than were written: {drift}")]
    ReadBack {
        /// Its name.
        program: String,
        /// What differs.
        drift: String,
    },
    /// No namespace to try it in.
    #[error("cannot make a network namespace to try iptables in: {0}")]
    Scratch(io::Error),
    /// No variant works here.
    #[error("no iptables works here; {0}")]
    None(String),
}

impl Tools {
    /// Choose the first variant that can hold the rules. `lock` is the lock file of the legacy variant:
    /// pods' namespaces share no rules with the host's, so the host's own lock would only delay.
    pub fn detect(lock: &Path) -> Result<Self, ToolError> {
        Self::first_of(&VARIANTS, lock)
    }

    /// [`Tools::detect`] among these variants: what stands between `iptables` and `-restore`.
    pub fn first_of(variants: &[&'static str], lock: &Path) -> Result<Self, ToolError> {
        let mut failures = Vec::new();
        for &variant in variants {
            let mut tools = Self {
                variant,
                nft: false,
                ipv6: false,
                lock: lock.to_owned(),
            };
            match tools.try_in_scratch() {
                Ok(()) => return Ok(tools),
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

    /// Whether rules are kept by nftables, so that its number of the rule set tells of changes.
    #[must_use]
    pub fn is_nft(&self) -> bool {
        self.nft
    }

    /// The variant's name, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.nft { "nft" } else { "legacy" }
    }

    /// Read the rules.
    pub fn save(&self, family: Family) -> Result<Saved, ToolError> {
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

    /// Put `script` in force, one transaction a table.
    pub fn restore(&self, family: Family, script: &str) -> Result<(), ToolError> {
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
        let failed = |source| ToolError::Run {
            program: program.to_owned(),
            source,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env("XTABLES_LOCKFILE", &self.lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let written = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let program = program.to_owned();
            return Err(ToolError::Failed { program, message });
        }
        written.transpose().map_err(failed)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Find out what this variant can do, on a thread that is given a namespace of its own and ends
    /// with it.
    fn try_in_scratch(&mut self) -> Result<(), ToolError> {
        let tried = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).map_err(|e| ToolError::Scratch(e.into()))?;
                self.nft = self
                    .run(&self.program(Family::V4, ""), &["--version"], "")?
                    .contains("nf_tables");
                self.try_family(Family::V4)?;
                self.ipv6 = match self.try_family(Family::V6) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(%error, "IPv6 cannot be captured on this node");
                        false
                    }
                };
                Ok(())
            });
            inside.join()
        });
        let panicked = |_panic| ToolError::Scratch(io::Error::other("the thread panicked"));
        tried.unwrap_or_else(|panic| Err(panicked(panic)))
    }

    /// Write rules that use every match and target, and read them back.
    fn try_family(&self, family: Family) -> Result<(), ToolError> {
        for flavour in [Flavour::Stock, Flavour::Culvert] {
            let tables = sample(flavour).tables(family);
            let script = plan::apply(&self.save(family)?, &tables);
            self.restore(family, &script)?;
            let drift = plan::drift(&self.save(family)?, &tables);
            if !drift.is_empty() {
                let program = self.program(family, "-save");
                let drift = drift.join(", ");
                return Err(ToolError::ReadBack { program, drift });
            }
        }
        Ok(())
    }
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
