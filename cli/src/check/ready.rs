//! Whether the mesh's own parts are there and ready, and its pods captured.

use std::collections::BTreeMap;

use culvert_enrolment::SYSTEM_NAMESPACE;
use k8s_openapi::api::core::v1::Pod;

use super::facts::{Mesh, labels, namespace, workload};
use super::finding::{Finding, Severity};

const PARTS: [(&str, &str); 3] = [
    ("culvert-controller", "Deployment"),
    ("culvert-agent", "DaemonSet"),
    ("culvert-ztunnel", "DaemonSet"),
];
const CAPTURED: &str = "culvert.dev/Captured";

pub(crate) fn check(mesh: &Mesh<'_>) -> Vec<Finding> {
    if !mesh.facts.saw(&["Deployment", "DaemonSet", "Pod"]) {
        return Vec::new();
    }
    let there: Vec<_> = PARTS
        .iter()
        .filter(|(name, kind)| is_there(mesh, name, kind))
        .collect();
    if there.is_empty() {
        return vec![Finding::new(
            Severity::Info,
            "not-installed",
            format!("Namespace {SYSTEM_NAMESPACE}"),
            "Culvert is not installed",
            "culvert install",
        )];
    }
    let mut findings = Vec::new();
    for (name, kind) in PARTS {
        let object = format!("{kind} {SYSTEM_NAMESPACE}/{name}");
        if !is_there(mesh, name, kind) {
            findings.push(Finding::new(
                Severity::Error,
                "not-ready",
                object,
                "is missing",
                "culvert install",
            ));
            continue;
        }
        let pods: Vec<_> = (mesh.facts.pods.iter())
            .filter(|it| namespace(it) == SYSTEM_NAMESPACE)
            .filter(|it| {
                labels(it)
                    .get("app.kubernetes.io/name")
                    .is_some_and(|it| it == name)
            })
            .collect();
        if pods.is_empty() {
            let remedy = format!(
                "kubectl -n {SYSTEM_NAMESPACE} describe {} {name}",
                kind.to_lowercase()
            );
            findings.push(Finding::new(
                Severity::Error,
                "not-ready",
                object,
                "has no pods",
                remedy,
            ));
        }
        findings.extend(pods.into_iter().filter_map(not_ready));
    }
    findings.extend(uncaptured(mesh));
    findings
}

fn is_there(mesh: &Mesh<'_>, name: &str, kind: &str) -> bool {
    let own = |it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        it.namespace.as_deref() == Some(SYSTEM_NAMESPACE) && it.name.as_deref() == Some(name)
    };
    match kind {
        "Deployment" => mesh.facts.deployments.iter().any(|it| own(&it.metadata)),
        _ => mesh.facts.daemon_sets.iter().any(|it| own(&it.metadata)),
    }
}

/// What keeps one of the mesh's own pods from being ready.
fn not_ready(pod: &Pod) -> Option<Finding> {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|it| it.conditions.as_deref())
        .unwrap_or_default();
    let named = |kind: &str| conditions.iter().find(|it| it.type_ == kind);
    if pod.metadata.deletion_timestamp.is_some()
        || named("Ready").is_some_and(|it| it.status == "True")
    {
        return None;
    }
    let containers = status
        .and_then(|it| it.container_statuses.as_deref())
        .unwrap_or_default();
    let waiting = containers
        .iter()
        .find_map(|it| it.state.as_ref()?.waiting.as_ref());
    let unscheduled = named("PodScheduled").is_some_and(|it| it.status != "True");
    let look = if waiting.is_some() || unscheduled {
        "describe pod"
    } else {
        "logs"
    };
    let why = match (waiting, named("PodScheduled")) {
        (Some(it), _) => [it.reason.as_deref(), it.message.as_deref()],
        (None, Some(it)) if it.status != "True" => [it.reason.as_deref(), it.message.as_deref()],
        _ => [Some("its readiness probe fails"), None],
    };
    let why: Vec<_> = why.into_iter().flatten().collect();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod
        .spec
        .as_ref()
        .and_then(|it| it.node_name.as_deref())
        .unwrap_or("no node");
    Some(Finding::new(
        Severity::Error,
        "not-ready",
        format!("Pod {SYSTEM_NAMESPACE}/{name}"),
        format!("is not ready, on {node}: {}", why.join(": ")),
        format!("kubectl -n {SYSTEM_NAMESPACE} {look} {name}"),
    ))
}

/// Pods of the mesh whose traffic is not captured, by what is said of them.
fn uncaptured(mesh: &Mesh<'_>) -> Vec<Finding> {
    let mut groups = BTreeMap::<_, usize>::new();
    for pod in mesh.concerned_members() {
        let status = pod.status.as_ref();
        let conditions = status
            .and_then(|it| it.conditions.as_deref())
            .unwrap_or_default();
        let Some(captured) = conditions
            .iter()
            .find(|it| it.type_ == CAPTURED && it.status != "True")
        else {
            continue;
        };
        let failed = captured.reason.as_deref() == Some("Failed");
        let severity = if failed {
            Severity::Error
        } else {
            Severity::Warning
        };
        let message = captured.message.clone().unwrap_or_default();
        *groups
            .entry((severity, workload(pod), message))
            .or_default() += 1;
    }
    let finding = |((severity, object, message), count)| {
        Finding::new(
            severity,
            "not-captured",
            object,
            format!("{count} of its pods are in the mesh and not captured: {message}"),
            "kubectl describe pod; the agent of the pod's node logs each attempt: \
             kubectl -n culvert-system logs -l app.kubernetes.io/name=culvert-agent",
        )
    };
    groups.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Facts;
    use crate::check::testing::{facts, found, object, pod};
    use serde_json::json;

    fn part(name: &str, ready: &str) -> Pod {
        let mut pod = pod(
            SYSTEM_NAMESPACE,
            &format!("{name}-x"),
            &[("app.kubernetes.io/name", name)],
        );
        pod.status = Some(object(
            json!({"conditions": [{"type": "Ready", "status": ready}]}),
        ));
        pod
    }

    fn installed() -> Facts {
        let mut facts = facts();
        let of = |name: &str| json!({"metadata": {"namespace": SYSTEM_NAMESPACE, "name": name}});
        facts.deployments = vec![object(of("culvert-controller"))];
        facts.daemon_sets = vec![object(of("culvert-agent")), object(of("culvert-ztunnel"))];
        facts.pods = PARTS.iter().map(|(name, _)| part(name, "True")).collect();
        facts
    }

    #[test]
    fn what_is_missing_and_what_is_not_ready() {
        assert_eq!(
            found(&facts(), None, check),
            ["info not-installed Namespace culvert-system"]
        );
        assert_eq!(found(&installed(), None, check), Vec::<String>::new());
        let mut blind = facts();
        blind.unread = vec![("Pod".into(), "forbidden".into())];
        assert_eq!(found(&blind, None, check), Vec::<String>::new());
        let mut half = installed();
        half.daemon_sets.pop();
        assert_eq!(
            found(&half, None, check),
            ["error not-ready DaemonSet culvert-system/culvert-ztunnel"]
        );
        let mut empty = installed();
        empty.pods.remove(0);
        assert_eq!(
            found(&empty, None, check),
            ["error not-ready Deployment culvert-system/culvert-controller"]
        );
        let mut waits = installed();
        waits.pods[1] = part("culvert-agent", "False");
        waits.pods[1]
            .status
            .as_mut()
            .expect("a status")
            .container_statuses = Some(vec![object(json!({
            "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
        }))]);
        assert_eq!(
            found(&waits, None, check),
            ["error not-ready Pod culvert-system/culvert-agent-x"]
        );
        let message = &check(&Mesh::new(&waits, None))[0].message;
        assert!(
            message.ends_with("ErrImagePull: no such image"),
            "{message}"
        );
    }

    #[test]
    fn pods_that_are_not_captured() {
        for (status, reason, expected) in [
            ("True", "Captured", None),
            (
                "False",
                "Pending",
                Some("warning not-captured Pod meshed/web"),
            ),
            ("False", "Failed", Some("error not-captured Pod meshed/web")),
        ] {
            let mut facts = installed();
            let mut web = pod("meshed", "web", &[]);
            web.status = Some(object(json!({"conditions": [
                {"type": CAPTURED, "status": status, "reason": reason, "message": "why"}]})));
            facts.pods.push(web);
            assert_eq!(found(&facts, None, check), expected.as_slice(), "{reason}");
        }
    }
}
