//! The cases, in the order in which they run.

mod app;
mod consumer_route;
mod enrolment;
mod faults;
mod grpc_route;
mod hostile;
mod ingress;
mod install;
mod matrix;
mod policy;
mod same_node;
mod skew;
mod waypoint;

pub(crate) use matrix::Matrix;

use crate::suite::Suite;
use anyhow::{Result, bail};
use culvert_e2e::{link::Link, mesh};

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Yields what it found out, for people.
    pub(crate) run: fn(&mut Suite) -> Result<Vec<String>>,
}

/// All cases that run while the mesh is installed, but for the matrix.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "enrolment/label-and-unlabel",
        run: enrolment::label_and_unlabel,
    },
    Case {
        name: "enrolment/tight-loop",
        run: enrolment::tight_loop,
    },
    Case {
        name: "enrolment/pod-labels",
        run: enrolment::pod_labels,
    },
    Case {
        name: "enrolment/first-connection",
        run: enrolment::first_connection,
    },
    Case {
        name: "policy/by-principal",
        run: policy::by_principal,
    },
    Case {
        name: "policy/strict",
        run: policy::strict,
    },
    Case {
        name: "policy/same-node",
        run: same_node::same_node,
    },
    Case {
        name: "policy/admission",
        run: policy::admission,
    },
    Case {
        name: "policy/conditions",
        run: policy::statuses,
    },
    Case {
        name: "waypoint/split",
        run: waypoint::split,
    },
    Case {
        name: "waypoint/grpc-route",
        run: grpc_route::split,
    },
    Case {
        name: "waypoint/consumer-route",
        run: consumer_route::own_clients_only,
    },
    Case {
        name: "gateway/ingress",
        run: ingress::gateway,
    },
    Case {
        name: "gateway/ingress-object",
        run: ingress::ingress_object,
    },
    Case {
        name: "hostile/packet-mark",
        run: hostile::packet_mark,
    },
    Case {
        name: "hostile/forged-capture",
        run: hostile::forged_capture,
    },
    Case {
        name: "faults/agent-killed",
        run: faults::agent_killed,
    },
    Case {
        name: "faults/ztunnel-killed",
        run: faults::ztunnel_killed,
    },
    Case {
        name: "faults/rolling-update",
        run: faults::rolling_update,
    },
    Case {
        name: "faults/controller-down",
        run: faults::controller_down,
    },
    Case {
        name: "faults/api-server-stopped",
        run: faults::api_server_stopped,
    },
    Case {
        name: "faults/cni-config-rewritten",
        run: faults::cni_config_rewritten,
    },
    Case {
        name: "faults/pod-without-ztunnel",
        run: faults::pod_without_ztunnel,
    },
    Case {
        name: "faults/pod-without-agent",
        run: faults::pod_without_agent,
    },
    Case {
        name: "faults/address-reuse",
        run: faults::address_reuse,
    },
    Case {
        name: "faults/namespace-deleted",
        run: faults::namespace_deleted,
    },
    Case {
        name: "faults/node-reboot",
        run: faults::node_reboot,
    },
    Case {
        name: "install/twice",
        run: install::twice,
    },
    Case {
        name: "install/check",
        run: install::check,
    },
    Case {
        name: "install/skew",
        run: skew::skew,
    },
];

/// A case that begins and ends without the mesh. It is given the nodes' states from before the first installation.
pub(crate) struct Removed {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Suite, &[NodeState]) -> Result<Vec<String>>,
}

/// A node and what it was like.
pub(crate) type NodeState = (&'static str, String);

/// The other ways to install and remove it.
pub(crate) const REMOVED: &[Removed] = &[
    Removed {
        name: "install-by-command",
        run: install::by_command,
    },
    Removed {
        name: "install-by-kubectl",
        run: install::by_kubectl,
    },
    Removed {
        name: "install-by-readme",
        run: install::by_readme,
    },
];

/// Every name, for `--list`.
pub(crate) fn names() -> Vec<String> {
    matrix::names()
        .chain(ALL.iter().map(|case| case.name.to_owned()))
        .chain(REMOVED.iter().map(|case| case.name.to_owned()))
        .collect()
}

/// Removes the cases' namespaces.
pub(crate) fn clean(suite: &mut Suite) -> Result<()> {
    suite.link.released(|_| true);
    suite
        .cluster
        .outside("ip route del 192.0.2.10/32 2>/dev/null || true")?
        .success()?;
    suite.cluster.kubectl.delete_namespaces(&[
        matrix::NAMESPACE,
        app::APP,
        app::OUTSIDER,
        consumer_route::CONSUMER,
        "e2e-joining",
        "e2e-doomed",
        "e2e-probes",
    ])
}

/// Uninstalls the mesh; the cluster and the nodes are as they were before it.
pub(crate) fn uninstall(suite: &mut Suite, before: &[NodeState]) -> Result<Vec<String>> {
    mesh::uninstall(&suite.cluster)?;
    install::left(suite, before)?;
    Ok(Vec::new())
}

/// The verdict over the link, from the first case to the last.
pub(crate) fn encryption(link: Link) -> Result<Vec<String>> {
    let verdict = link.finish()?;
    let mut notes = vec![format!(
        "{} connections between pods of the mesh, all of port 15008 and TLS to the last byte: {} records, {} MB",
        verdict.connections,
        verdict.records,
        verdict.bytes / 1_000_000
    )];
    notes.extend(
        verdict
            .excused
            .iter()
            .map(|(case, reason, count)| format!("excused: {count} by {case} ({reason})")),
    );
    if !verdict.wrong.is_empty() {
        bail!(
            "{} that must not be:\n{}\n{}",
            verdict.wrong.len(),
            verdict.wrong.join("\n"),
            notes.join("\n")
        );
    }
    if verdict.connections == 0 {
        bail!("no connection between pods of the mesh was seen");
    }
    Ok(notes)
}
