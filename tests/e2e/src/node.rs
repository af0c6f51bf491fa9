//! What a node is like: its rules, the files and directories that a mesh may leave there, its CNI configuration.

use crate::cluster::Cluster;
use anyhow::{Result, ensure};

/// The nodes of the suite.
pub const NODES: [&str; 2] = ["node1", "node2"];

/// Everything that an installation may change on a node. Counters, what Kubernetes itself changes, how a
/// JSON file is set out (a case has another program write it anew), and the empty directories that the kubelet makes for
/// mounts are left out.
const SCRIPT: &str = r#"
echo "== cni"; for f in /etc/cni/net.d/*; do echo "$f"; jq -S . "$f" 2>/dev/null || cat "$f"; done 2>/dev/null
echo "== plugins"; ls /opt/cni/bin /usr/lib/cni 2>/dev/null
echo "== run"; find /run/culvert /run/culvert-cni /var/lib/culvert -mindepth 1 2>/dev/null
echo "== rules of ours"; { iptables-save; ip6tables-save; nft list ruleset; } 2>/dev/null | grep -E 'CULVERT_|table .*culvert' || true
echo "== ip rules"; ip rule | grep -v proto; ip -6 rule | grep -v proto
echo "== links"; ip -o link | sed 's/^[0-9]*: //; s/[@:].*//' | grep -Ev '^(veth|cali)' | sort
echo "== processes"; for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline 2>/dev/null | cut -d' ' -f1-4; echo; done | grep culvert- | grep -v culvert-echo || true
"#;

/// A node's state as text.
pub fn state(cluster: &Cluster, node: &str) -> Result<String> {
    cluster.on_node(node, SCRIPT)?.success()
}

/// Fails with the first line that differs.
pub fn same(node: &str, before: &str, after: &str) -> Result<()> {
    let lost: Vec<_> = before
        .lines()
        .filter(|line| !after.lines().any(|other| other == *line))
        .collect();
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.lines().any(|other| other == *line))
        .collect();
    ensure!(
        lost.is_empty() && new.is_empty(),
        "{node} is not as before: new {new:?}, gone {lost:?}"
    );
    ensure!(
        before == after,
        "{node} is not as before:\n{after}\ninstead of\n{before}"
    );
    Ok(())
}
