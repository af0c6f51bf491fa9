//! `culvert check`: what would break when a namespace is enrolled, or is broken in the mesh as it is.
//!
//! Invariant: it only reads. Each check is a pure function of what was read, in a file of its own.

mod agents;
mod cni;
mod entry;
mod facts;
mod finding;
mod foreign;
mod gateway_api;
mod host_network;
mod mutual_tls;
mod network_policy;
mod probes;
mod read;
mod ready;
mod selector;
mod strict;
#[cfg(test)]
mod testing;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::output::{self, Format};
use crate::reach;
use facts::{Facts, Mesh};
use finding::Finding;

/// Options of `culvert check`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Check this namespace as if it were enrolled, whether it is or not.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The cluster's credentials; otherwise $KUBECONFIG, ~/.kube/config or the pod's own.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// All checks, in the order in which a person would look.
const CHECKS: [fn(&Mesh<'_>) -> Vec<Finding>; 10] = [
    ready::check,
    agents::check,
    versions::check,
    gateway_api::check,
    cni::check,
    network_policy::check,
    foreign::check,
    probes::check,
    strict::check,
    host_network::check,
];

/// Prints what was found. Success if nothing is wrong.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let facts = reach::run(async {
        let client = reach::connect(options.kubeconfig.as_ref()).await?;
        read::facts(&client).await
    })?;
    let findings = find(&facts, options.namespace.as_deref())?;
    output::print(options.output, &finding::value(&findings, &facts), || {
        Ok(finding::text(&findings))
    })?;
    Ok(ExitCode::from(u8::from(finding::wrong(&findings))))
}

fn find(facts: &Facts, namespace: Option<&str>) -> Result<Vec<Finding>> {
    let known = |name: &str| {
        let mut names = facts
            .namespaces
            .iter()
            .map(|it| it.metadata.name.as_deref());
        facts.namespaces.is_empty() || names.any(|it| it == Some(name))
    };
    if let Some(name) = namespace.filter(|it| !known(it)) {
        bail!("there is no namespace {name}");
    }
    let mesh = Mesh::new(facts, namespace);
    let mut findings = read::unread(facts);
    findings.extend(CHECKS.iter().flat_map(|check| check(&mesh)));
    findings.sort_by_key(|it| it.severity);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_an_error_and_the_worst_comes_first() {
        let mut facts = testing::facts();
        facts.version = "v1.20.0".into();
        assert!(find(&facts, Some("nowhere")).is_err());
        // Credentials that may not list namespaces do not make it a wrong name.
        assert!(find(&Facts::default(), Some("nowhere")).is_ok());
        let found = find(&facts, Some("plain")).expect("findings");
        assert_eq!(found.first().map(|it| it.check), Some("kubernetes-version"));
        assert_eq!(found.last().map(|it| it.check), Some("not-installed"));
    }

    #[test]
    fn every_check_has_its_line_in_the_docs() {
        let docs = include_str!("../../../docs/check.md");
        let sources = [
            include_str!("agents.rs"),
            include_str!("cni.rs"),
            include_str!("foreign.rs"),
            include_str!("gateway_api.rs"),
            include_str!("host_network.rs"),
            include_str!("network_policy.rs"),
            include_str!("probes.rs"),
            include_str!("read.rs"),
            include_str!("ready.rs"),
            include_str!("strict.rs"),
            include_str!("versions.rs"),
        ];
        let mut named = 0;
        for source in sources {
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, _) in code.match_indices("Severity::") {
                let quoted = code[at..].split('"').nth(1).unwrap_or_default();
                if !quoted.is_empty()
                    && quoted
                        .bytes()
                        .all(|it| it.is_ascii_lowercase() || it == b'-')
                {
                    assert!(
                        docs.contains(&format!("`{quoted}`")),
                        "docs/check.md lacks {quoted}"
                    );
                    named += 1;
                }
            }
        }
        assert!(named > 15, "{named}");
    }
}
