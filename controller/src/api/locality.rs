//! What a TrafficPolicy says of where endpoints are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which endpoints are near. Goes before the Service's trafficDistribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Locality {
    /// Left out: Failover.
    pub mode: LocalityMode,
    /// What an endpoint should have in common with the waypoint's instance, from the widest to the narrowest. Left out:
    /// Region, Zone, Subzone.
    pub failover_priority: Option<Vec<LocalityLevel>>,
    /// Where to go first when there is nothing in the own region.
    pub failover: Vec<RegionFailover>,
}

/// What being near means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LocalityMode {
    /// The nearest endpoints first; what is too much for those of them that are healthy goes to the next.
    #[default]
    Failover,
    /// No others than the nearest.
    Strict,
    /// Nothing: all are alike, whatever the Service prefers.
    Disabled,
}

/// What an endpoint may have in common with the waypoint's instance.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum LocalityLevel {
    /// `topology.kubernetes.io/region` of the node.
    Region,
    /// `topology.kubernetes.io/zone` of the node.
    Zone,
    /// `topology.istio.io/subzone` of the node.
    Subzone,
    /// The node.
    Node,
}

/// Where to go first when there is nothing in a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionFailover {
    /// The region of the waypoint's instance.
    pub from: String,
    /// Another one.
    pub to: String,
}
