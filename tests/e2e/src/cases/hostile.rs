//! Pods that try to get around the mesh, or into it by a lie.

use super::app::APP;
use crate::suite::Suite;
use anyhow::{Result, ensure};
use culvert_e2e::mesh::CAPTURED;
use std::time::SystemTime;

/// A container that may set marks sets the one that every stock ztunnel has; its traffic is captured all the same.
pub(super) fn packet_mark(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    k.run(&[
        "-n",
        APP,
        "delete",
        "pod",
        "marker",
        "--ignore-not-found",
        "--wait",
    ])?;
    k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: marker, namespace: {APP}, labels: {{app: marker}}}}\nspec:\n  nodeSelector: {{kubernetes.io/hostname: node1}}\n  \
         terminationGracePeriodSeconds: 0\n  containers: [{{name: main, {}, command: [sleep, infinity], securityContext: {{capabilities: {{add: [NET_ADMIN, NET_RAW]}}}}}}]\n",
        super::app::IMAGE
    ))?;
    suite.runs(APP, "marker")?;
    suite.settled(APP)?;
    let (marker, echo) = (
        suite.addresses(APP, "marker")?,
        suite.addresses(APP, "echo2")?,
    );
    let since = SystemTime::now();
    for mark in ["0x539", "0x111"] {
        let script = format!(
            "python3 -c \"import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 36, {mark}); s.settimeout(5); s.connect(('{}', 8080)); \
             s.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n'); print(s.recv(4096).decode())\"",
            echo[0]
        );
        let output = k.sh(APP, "marker", &script)?;
        // Captured or refused; never in the clear.
        ensure!(
            mark != "0x539" || output.text().contains("name: echo2"),
            "with {mark}: {}",
            output.text()
        );
    }
    suite.crossed(since, &marker, &echo, true)?;
    suite.link.released(|pod| pod == "e2e-app/marker");
    k.delete_pod(APP, "marker")?;
    Ok(Vec::new())
}

/// Whoever may write a pod's status cannot say that it is captured; and annotations say nothing.
pub(super) fn forged_capture(suite: &mut Suite) -> Result<Vec<String>> {
    suite.app()?;
    let k = suite.cluster.kubectl.clone();
    let outsider = super::app::OUTSIDER;
    suite.pod(
        outsider,
        "forger",
        "node2",
        r#"[culvert-echo, --name, forger, --http, "8080"]"#,
        ", annotations: {ambient.istio.io/redirection: enabled, culvert.dev/captured: \"true\", culvert.dev/Captured: \"True\"}",
    )?;
    suite.runs(outsider, "forger")?;
    k.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: status, namespace: {outsider}}}\nrules: [{{apiGroups: [\"\"], resources: [pods/status, pods], verbs: [get, patch, update]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: status, namespace: {outsider}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: status}}\n\
         subjects: [{{kind: ServiceAccount, name: default, namespace: {outsider}}}]\n"
    ))?;
    let patch = format!(
        r#"{{"status":{{"conditions":[{{"type":"{CAPTURED}","status":"True","reason":"Captured","message":""}}]}}}}"#
    );
    let user = format!("--as=system:serviceaccount:{outsider}:default");
    let forged = k.try_run(&[
        "-n",
        outsider,
        "patch",
        "pod",
        "forger",
        "--subresource=status",
        "-p",
        &patch,
        &user,
    ])?;
    ensure!(
        !forged.ok,
        "the condition could be forged: {}",
        forged.text()
    );
    ensure!(
        forged.stderr.contains(CAPTURED) || forged.stderr.contains("capture"),
        "refused for another reason: {}",
        forged.stderr
    );
    let (near, forger) = (
        suite.addresses(APP, "near")?,
        suite.addresses(outsider, "forger")?,
    );
    let since = SystemTime::now();
    suite.get_from(
        APP,
        "near",
        &format!("http://{}:8080/", forger[0]),
        "forger",
    )?;
    suite.crossed(since, &near, &forger, false)?;
    k.delete_pod(outsider, "forger")?;
    Ok(vec![
        forged.stderr.lines().last().unwrap_or_default().to_owned(),
    ])
}
