//! A status as tables.

use super::model::{Certificate, Component, Status};
use crate::table::Table;
use std::fmt::Write;

pub(super) fn render(status: &Status, problems: &[String]) -> String {
    let mut text = format!(
        "trust domain {}, as of {}\n",
        status.trust_domain, status.updated
    );
    for (title, table) in [
        ("NODES", nodes(status)),
        ("PODS", pods(status)),
        ("WAYPOINTS", waypoints(status)),
        ("CERTIFICATES", certificates(status)),
        ("POLICIES AND ROUTES", objects(status)),
        ("REJECTED", rejected(status)),
    ] {
        if !table.is_empty() {
            let _ = write!(text, "\n{title}\n{table}");
        }
    }
    text.push('\n');
    match problems {
        [] => text.push_str("all is well\n"),
        problems => {
            let _ = writeln!(text, "{} wrong:", problems.len());
            for problem in problems {
                let _ = writeln!(text, "  {problem}");
            }
        }
    }
    text
}

fn state(component: &Component) -> String {
    match (
        component.connected,
        component.pending.is_empty() && component.error.is_empty(),
    ) {
        (false, _) => "not connected".into(),
        (true, false) => "not ready".into(),
        (true, true) => format!("ready {}", component.version).trim_end().into(),
    }
}

fn nodes(status: &Status) -> Table {
    let mut table = Table::new(&["node", "agent", "ztunnel", "enrolled", "captured"]);
    for node in &status.nodes {
        let enrolled = node.pods.iter().filter(|pod| pod.enrolled);
        let captured = enrolled
            .clone()
            .filter(|pod| pod.capture == "captured")
            .count();
        table.row([
            node.name.clone(),
            state(&node.agent),
            state(&node.ztunnel),
            format!("{}/{}", enrolled.count(), node.pods.len()),
            captured.to_string(),
        ]);
    }
    table
}

fn pods(status: &Status) -> Table {
    let mut table = Table::new(&[
        "namespace",
        "pod",
        "node",
        "enrolled",
        "capture",
        "protocol",
        "before",
        "message",
    ]);
    for node in &status.nodes {
        for pod in &node.pods {
            let before = match (pod.connections_before, pod.connections_closed) {
                (0, 0) => String::new(),
                (before, 0) => before.to_string(),
                (before, closed) => format!("{before} ({closed} closed)"),
            };
            table.row([
                pod.namespace.clone(),
                pod.name.clone(),
                node.name.clone(),
                if pod.enrolled { "yes" } else { "no" }.into(),
                pod.capture.clone(),
                if pod.hbone { "HBONE" } else { "TCP" }.into(),
                before,
                pod.message.clone(),
            ]);
        }
    }
    table
}

fn waypoints(status: &Status) -> Table {
    let mut table = Table::new(&[
        "namespace",
        "waypoint",
        "address",
        "connected",
        "programmed",
        "for",
        "waiting",
    ]);
    for waypoint in &status.waypoints {
        table.row([
            waypoint.namespace.clone(),
            waypoint.name.clone(),
            waypoint.addresses.join(","),
            if waypoint.connected { "yes" } else { "no" }.into(),
            if waypoint.programmed { "yes" } else { "no" }.into(),
            [&waypoint.services, &waypoint.entries, &waypoint.workloads]
                .map(Vec::as_slice)
                .concat()
                .join(","),
            waypoint.waiting.join(","),
        ]);
    }
    table
}

fn certificates(status: &Status) -> Table {
    let mut table = Table::new(&["holder", "identity", "serial", "not after", "error"]);
    let nodes = status
        .nodes
        .iter()
        .map(|node| (node.name.clone(), &node.certificates));
    let waypoints = status.waypoints.iter().map(|waypoint| {
        (
            format!("{}/{}", waypoint.namespace, waypoint.name),
            &waypoint.certificates,
        )
    });
    for (holder, certificates) in nodes.chain(waypoints) {
        for Certificate {
            identity,
            serial,
            not_after,
            error,
        } in certificates
        {
            table.row([
                holder.clone(),
                identity.clone(),
                serial.clone(),
                not_after.clone(),
                error.clone(),
            ]);
        }
    }
    table
}

fn objects(status: &Status) -> Table {
    let mut table = Table::new(&["kind", "namespace", "name", "conditions"]);
    for object in &status.objects {
        let conditions =
            object
                .conditions
                .iter()
                .map(|condition| match condition.status.as_str() {
                    "True" => condition.kind.clone(),
                    status => format!("{}={status} ({})", condition.kind, condition.reason),
                });
        let conditions = conditions.collect::<Vec<_>>().join(", ");
        table.row([
            object.kind.clone(),
            object.namespace.clone(),
            object.name.clone(),
            conditions,
        ]);
    }
    table
}

fn rejected(status: &Status) -> Table {
    let mut table = Table::new(&["file", "object", "field", "effect", "message"]);
    for rejected in &status.rejected {
        table.row([
            format!("{}:{}", rejected.file, rejected.line),
            rejected.object.clone(),
            rejected.field.clone(),
            rejected.effect.clone(),
            rejected.message.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::*;
    use serde_json::json;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    fn healthy() -> serde_json::Value {
        let component = json!({"connected": true, "version": "0.1.0", "pending": [], "error": ""});
        json!({
            "version": 1, "updated": "2026-11-21T09:00:00Z", "trustDomain": "cluster.local",
            "nodes": [{
                "name": "n1", "agent": component, "ztunnel": component,
                "pods": [{"namespace": "demo", "name": "web", "uid": "u", "enrolled": true, "hbone": true, "capture": "captured"}],
                "certificates": [{"identity": "spiffe://cluster.local/ns/demo/sa/web", "serial": "0a", "notAfter": "2026-11-22T09:00:00Z"}],
            }],
            "waypoints": [], "objects": [], "rejected": [],
        })
    }

    #[test]
    fn a_healthy_mesh_has_no_problems() {
        let status = status(healthy());
        assert_eq!(problems::of(&status), Vec::<String>::new());
        let text = render(&status, &[]);
        assert!(text.contains("\nNODE   AGENT         ZTUNNEL       ENROLLED   CAPTURED\nn1     ready 0.1.0   ready 0.1.0   1/1        1\n"), "{text}");
        assert!(text.ends_with("\nall is well\n"), "{text}");
        assert!(!text.contains("REJECTED"), "{text}");
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_problem() {
        let wrong = [
            (
                "/nodes/0/agent/connected",
                json!(false),
                "node n1 agent is not connected",
            ),
            (
                "/nodes/0/ztunnel/pending",
                json!(["xds"]),
                "node n1 ztunnel is not ready: xds",
            ),
            (
                "/nodes/0/pods/0/capture",
                json!("failed"),
                "pod demo/web: capture failed",
            ),
            (
                "/nodes/0/certificates/0/error",
                json!("refused"),
                "certificate spiffe://cluster.local/ns/demo/sa/web: refused",
            ),
            (
                "/waypoints",
                json!([{"namespace": "demo", "name": "w", "connected": true, "waiting": ["demo/a"]}]),
                "waypoint demo/w is not programmed for demo/a",
            ),
            (
                "/rejected",
                json!([{"file": "a.yaml", "line": 3, "object": "Pod demo/x", "field": "spec.nodeName", "message": "missing"}]),
                "a.yaml:3 Pod demo/x spec.nodeName: missing",
            ),
            (
                "/objects",
                json!([{"kind": "HTTPRoute", "namespace": "demo", "name": "r", "conditions": [{"type": "Accepted", "status": "False", "reason": "NoMatchingParent"}]}]),
                "HTTPRoute demo/r is not Accepted (NoMatchingParent)",
            ),
        ];
        for (pointer, value, expected) in wrong {
            let mut mesh = healthy();
            match mesh.pointer_mut(pointer) {
                Some(place) => *place = value,
                None => mesh["nodes"][0]["certificates"][0]["error"] = value,
            }
            assert_eq!(problems::of(&status(mesh)), [expected], "{pointer}");
        }
    }
}
