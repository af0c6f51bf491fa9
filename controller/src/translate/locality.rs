//! What TrafficPolicies say of where endpoints are, as waypoints are told, with every default filled in.

use culvert_proto::waypoint::{Locality, LocalityLevel, LocalityMode, RegionFailover};

use crate::api;

const DEFAULT: [api::LocalityLevel; 3] = [
    api::LocalityLevel::Region,
    api::LocalityLevel::Zone,
    api::LocalityLevel::Subzone,
];

/// Which endpoints are near.
pub(super) fn of(locality: &api::Locality) -> Locality {
    let mode = match locality.mode {
        api::LocalityMode::Failover => LocalityMode::Failover,
        api::LocalityMode::Strict => LocalityMode::Strict,
        api::LocalityMode::Disabled => LocalityMode::Disabled,
    };
    let levels = match mode {
        LocalityMode::Disabled => &[],
        _ => locality.failover_priority.as_deref().unwrap_or(&DEFAULT),
    };
    let failover = |failover: &api::RegionFailover| RegionFailover {
        from: failover.from.clone(),
        to: failover.to.clone(),
    };
    Locality {
        mode: mode.into(),
        levels: levels.iter().map(|level| level_of(*level).into()).collect(),
        failover: locality.failover.iter().map(failover).collect(),
    }
}

fn level_of(level: api::LocalityLevel) -> LocalityLevel {
    match level {
        api::LocalityLevel::Region => LocalityLevel::Region,
        api::LocalityLevel::Zone => LocalityLevel::Zone,
        api::LocalityLevel::Subzone => LocalityLevel::Subzone,
        api::LocalityLevel::Node => LocalityLevel::Node,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Locality {
        of(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let all = read(json!({}));
        assert_eq!(all.mode(), LocalityMode::Failover);
        let levels: Vec<_> = all.levels().collect();
        assert_eq!(
            levels,
            [
                LocalityLevel::Region,
                LocalityLevel::Zone,
                LocalityLevel::Subzone
            ]
        );
        assert!(all.failover.is_empty());
    }

    #[test]
    fn what_is_said_is_told() {
        let said = read(json!({"mode": "Strict", "failoverPriority": ["Zone", "Node"]}));
        assert_eq!(said.mode(), LocalityMode::Strict);
        let levels: Vec<_> = said.levels().collect();
        assert_eq!(levels, [LocalityLevel::Zone, LocalityLevel::Node]);
        let regions = read(json!({"failover": [{"from": "eu", "to": "us"}]})).failover;
        let known = RegionFailover {
            from: "eu".into(),
            to: "us".into(),
        };
        assert_eq!(regions, [known]);
        assert!(read(json!({"mode": "Disabled"})).levels.is_empty());
    }
}
