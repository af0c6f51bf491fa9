//! The controller's status file, version 1, as `docs/configuration.md` states it. Fields that it adds later are ignored.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) updated: String,
    pub(super) trust_domain: String,
    #[serde(default)]
    pub(super) nodes: Vec<Node>,
    #[serde(default)]
    pub(super) waypoints: Vec<Waypoint>,
    #[serde(default)]
    pub(super) objects: Vec<Object>,
    #[serde(default)]
    pub(super) rejected: Vec<Rejected>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) name: String,
    #[serde(default)]
    pub(super) agent: Component,
    #[serde(default)]
    pub(super) ztunnel: Component,
    #[serde(default)]
    pub(super) pods: Vec<Pod>,
    #[serde(default)]
    pub(super) certificates: Vec<Certificate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Component {
    pub(super) connected: bool,
    pub(super) version: String,
    pub(super) pending: Vec<String>,
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) enrolled: bool,
    pub(super) hbone: bool,
    pub(super) capture: String,
    pub(super) message: String,
    pub(super) connections_before: u32,
    pub(super) connections_closed: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Certificate {
    pub(super) identity: String,
    pub(super) serial: String,
    pub(super) not_after: String,
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Waypoint {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) connected: bool,
    pub(super) programmed: bool,
    pub(super) pending: Vec<String>,
    pub(super) error: String,
    pub(super) services: Vec<String>,
    pub(super) entries: Vec<String>,
    pub(super) workloads: Vec<String>,
    pub(super) waiting: Vec<String>,
    pub(super) certificates: Vec<Certificate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rejected {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) object: String,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) effect: String,
}
