//! What is wrong in a status, one line each. An empty list is what exit status 0 means.

use super::model::{Certificate, Component, Node, Object, Status, Waypoint};

pub(super) fn of(status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    for node in &status.nodes {
        of_node(node, &mut problems);
    }
    for waypoint in &status.waypoints {
        of_waypoint(waypoint, &mut problems);
    }
    for object in &status.objects {
        of_object(object, &mut problems);
    }
    for rejected in &status.rejected {
        let field = if rejected.field.is_empty() {
            String::new()
        } else {
            format!(" {}", rejected.field)
        };
        // On Kubernetes an object stands in no file.
        let place = if rejected.file.is_empty() {
            String::new()
        } else {
            format!("{}:{} ", rejected.file, rejected.line)
        };
        problems.push(format!(
            "{place}{}{field}: {}",
            rejected.object, rejected.message
        ));
    }
    problems
}

fn of_node(node: &Node, problems: &mut Vec<String>) {
    of_component(&format!("node {} agent", node.name), &node.agent, problems);
    of_component(
        &format!("node {} ztunnel", node.name),
        &node.ztunnel,
        problems,
    );
    for pod in &node.pods {
        if pod.enrolled && pod.capture != "captured" {
            let state = if pod.capture.is_empty() {
                "unknown"
            } else {
                &pod.capture
            };
            problems.push(join(&[
                &format!("pod {}/{}: capture {state}", pod.namespace, pod.name),
                &pod.message,
            ]));
        }
    }
    of_certificates(&node.certificates, problems);
}

fn of_component(what: &str, component: &Component, problems: &mut Vec<String>) {
    if !component.connected {
        problems.push(format!("{what} is not connected"));
    }
    if !component.pending.is_empty() {
        problems.push(format!(
            "{what} is not ready: {}",
            component.pending.join(", ")
        ));
    }
    if !component.error.is_empty() {
        problems.push(format!("{what}: {}", component.error));
    }
}

fn of_waypoint(waypoint: &Waypoint, problems: &mut Vec<String>) {
    let what = format!("waypoint {}/{}", waypoint.namespace, waypoint.name);
    if !waypoint.connected {
        problems.push(format!("{what} is not connected"));
    }
    if !waypoint.pending.is_empty() {
        problems.push(format!(
            "{what} is not ready: {}",
            waypoint.pending.join(", ")
        ));
    }
    if !waypoint.waiting.is_empty() {
        problems.push(format!(
            "{what} is not programmed for {}",
            waypoint.waiting.join(", ")
        ));
    }
    if !waypoint.error.is_empty() {
        problems.push(format!("{what}: {}", waypoint.error));
    }
    of_certificates(&waypoint.certificates, problems);
}

fn of_certificates(certificates: &[Certificate], problems: &mut Vec<String>) {
    let failed = certificates
        .iter()
        .filter(|certificate| !certificate.error.is_empty());
    problems.extend(failed.map(|certificate| {
        format!(
            "certificate {}: {}",
            certificate.identity, certificate.error
        )
    }));
}

fn of_object(object: &Object, problems: &mut Vec<String>) {
    for condition in object
        .conditions
        .iter()
        .filter(|condition| condition.status == "False")
    {
        let what = format!(
            "{} {}/{} is not {}",
            object.kind, object.namespace, object.name, condition.kind
        );
        problems.push(join(&[
            &format!("{what} ({})", condition.reason),
            &condition.message,
        ]));
    }
}

fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(": ")
}
