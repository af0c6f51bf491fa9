//! ztunnel's lists as tables. A field that is not there shows as `-`.

use crate::{table::Table, time::rfc3339};
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// A field as text: strings as they are, lists with commas.
fn text(item: &Value, field: &str) -> String {
    match &item[field] {
        Value::Null => String::new(),
        Value::String(string) => string.clone(),
        Value::Array(items) => {
            let words: Vec<_> = items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect();
            words.join(",")
        }
        other => other.to_string(),
    }
}

/// A waypoint by its address or name.
fn gateway(item: &Value) -> String {
    let destination = &item["waypoint"]["destination"];
    match (
        destination["address"]["ip"].as_str(),
        destination["hostname"]["hostname"].as_str(),
    ) {
        (Some(address), _) => address.to_owned(),
        (None, Some(hostname)) => hostname.to_owned(),
        (None, None) => String::new(),
    }
}

fn sorted<const N: usize>(headings: [&str; N], mut rows: Vec<[String; N]>) -> Table {
    rows.sort();
    let mut table = Table::new(&headings);
    rows.into_iter().for_each(|row| table.row(row));
    table
}

pub(super) fn workloads(items: &[Value]) -> Table {
    let row = |item: &Value| {
        let protocol = if item["tunnel"] == "HBONE" {
            "HBONE"
        } else {
            "TCP"
        };
        [
            text(item, "namespace"),
            text(item, "name"),
            text(item, "addresses"),
            text(item, "node"),
            gateway(item),
            protocol.to_owned(),
        ]
    };
    sorted(
        [
            "namespace",
            "pod",
            "address",
            "node",
            "waypoint",
            "protocol",
        ],
        items.iter().map(row).collect(),
    )
}

pub(super) fn services(items: &[Value]) -> Table {
    let row = |item: &Value| {
        let ports = item["ports"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let ports: Vec<_> = ports.iter().map(|port| text(port, "port")).collect();
        [
            text(item, "namespace"),
            text(item, "name"),
            text(item, "vips"),
            ports.join(","),
            gateway(item),
        ]
    };
    sorted(
        ["namespace", "service", "vip", "ports", "waypoint"],
        items.iter().map(row).collect(),
    )
}

pub(super) fn policies(items: &[Value]) -> Table {
    let row = |item: &Value| {
        let name = text(item, "name");
        let (namespace, name) = name.split_once('/').unwrap_or(("", &name));
        let scope = match &item["attachment"] {
            Value::String(kind) => kind.clone(),
            Value::Object(kind) => kind.keys().cloned().collect::<Vec<_>>().join(","),
            _ => String::new(),
        };
        let rules = item["rules"].as_array().map_or(0, Vec::len);
        [
            namespace.to_owned(),
            name.to_owned(),
            text(item, "action"),
            scope,
            rules.to_string(),
        ]
    };
    sorted(
        ["namespace", "policy", "action", "scope", "rules"],
        items.iter().map(row).collect(),
    )
}

pub(super) fn certificates(items: &[Value]) -> Table {
    let moment = |item: &Value, field: &str| item[field].as_u64().map(rfc3339).unwrap_or_default();
    let row = |item: &Value| {
        [
            text(item, "identity"),
            text(item, "state"),
            text(item, "serial"),
            moment(item, "not_before"),
            moment(item, "not_after"),
            text(item, "error"),
        ]
    };
    let headings = [
        "identity",
        "state",
        "serial",
        "not before",
        "not after",
        "error",
    ];
    sorted(headings, items.iter().map(row).collect())
}

pub(super) fn connections(items: &[Value]) -> Result<Table> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let row = |item: &Value| {
        let outbound = item["direction"] == "outbound";
        let (local, remote) = if outbound {
            ("source", "destination")
        } else {
            ("destination", "source")
        };
        let peer = format!("{remote}_identity");
        let since = item["since"]
            .as_u64()
            .map(|since| age(now.saturating_sub(Duration::from_secs(since))));
        let pod = text(item, "pod");
        [
            pod.rsplit_once("//Pod/")
                .map_or(pod.clone(), |(_, name)| name.to_owned()),
            text(item, "direction"),
            text(item, local),
            text(item, remote),
            text(item, "service"),
            text(item, &peer),
            if item["hbone"].is_null() {
                "TCP"
            } else {
                "HBONE"
            }
            .to_owned(),
            format!(
                "{}/{}",
                text(item, "bytes_to_server"),
                text(item, "bytes_to_client")
            ),
            since.unwrap_or_default(),
        ]
    };
    let headings = [
        "pod",
        "direction",
        "local",
        "remote",
        "target",
        "peer",
        "protocol",
        "bytes",
        "since",
    ];
    Ok(sorted(headings, items.iter().map(row).collect()))
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_shows_its_waypoint_and_protocol() {
        let item = json!({
            "namespace": "demo", "name": "web", "addresses": ["10.0.0.1", "fd10::1"], "node": "n1", "tunnel": "HBONE",
            "waypoint": {"destination": {"address": {"network": "", "ip": "10.0.0.9"}}, "hbone_port": 15008},
        });
        let expected = "NAMESPACE   POD   ADDRESS            NODE   WAYPOINT   PROTOCOL\n\
                        demo        web   10.0.0.1,fd10::1   n1     10.0.0.9   HBONE\n";
        assert_eq!(workloads(&[item]).to_string(), expected);
    }

    #[test]
    fn a_connection_is_shown_from_the_pods_side() {
        let item = json!({
            "pod": "Kubernetes//Pod/demo/web", "direction": "inbound", "source": "10.0.0.1:5000", "destination": "10.0.0.2:80", "hbone": "10.0.0.1:41000",
            "source_identity": "spiffe://cluster.local/ns/demo/sa/client", "since": 0, "bytes_to_server": 10, "bytes_to_client": 20,
        });
        let shown = connections(&[item]).unwrap().to_string();
        let row: Vec<_> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row[..4],
            ["demo/web", "inbound", "10.0.0.2:80", "10.0.0.1:5000"]
        );
        assert_eq!(
            row[4..8],
            [
                "-",
                "spiffe://cluster.local/ns/demo/sa/client",
                "HBONE",
                "10/20"
            ]
        );
    }

    #[test]
    fn policies_are_split_into_namespace_and_name() {
        let item = json!({"name": "demo/no-guests", "action": "DENY", "rules": [{}], "attachment": {"namespace": "demo"}});
        let shown = policies(&[item]).to_string();
        assert!(
            shown.ends_with("demo        no-guests   DENY     namespace   1\n"),
            "{shown}"
        );
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age(Duration::from_secs(59)), "59s");
        assert_eq!(age(Duration::from_secs(61)), "1m1s");
        assert_eq!(age(Duration::from_secs(3700)), "1h1m");
    }
}
