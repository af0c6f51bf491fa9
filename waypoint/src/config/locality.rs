//! Which endpoints are near, as a TrafficPolicy or a Service says.

use std::sync::Arc;

use culvert_proto::waypoint as pb;
use culvert_xds::state::{LoadBalancing, LoadBalancingMode, LoadBalancingScope as Level, Workload};

use super::{ConfigError, decode_all};

/// How endpoints are preferred by where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// What being near means.
    pub mode: LocalityMode,
    /// From the widest to the narrowest.
    pub levels: Box<[Level]>,
    /// From which region to which one first, when there is nothing in the own one.
    pub failover: Box<[(Arc<str>, Arc<str>)]>,
}

/// What being near means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalityMode {
    /// Nothing.
    Disabled,
    /// The nearest first.
    Failover,
    /// No others.
    Strict,
}

impl Locality {
    /// What a Service prefers. That only endpoints of a client's own node may be used is about the client, of whose node
    /// nobody tells a waypoint: it counts at ztunnels.
    pub fn of_service(balancing: &LoadBalancing) -> Option<Self> {
        let prefers = balancing.mode == LoadBalancingMode::Failover;
        (prefers && !balancing.routing_preference.is_empty()).then(|| Self {
            mode: LocalityMode::Failover,
            levels: balancing.routing_preference.as_slice().into(),
            failover: Box::default(),
        })
    }

    /// Decodes what a policy says.
    pub fn decode(raw: &pb::Locality) -> Result<Self, ConfigError> {
        use pb::LocalityMode as Raw;
        let mode = match Raw::try_from(raw.mode) {
            Ok(Raw::Disabled) => LocalityMode::Disabled,
            Ok(Raw::Failover) => LocalityMode::Failover,
            Ok(Raw::Strict) => LocalityMode::Strict,
            Ok(Raw::Unspecified) | Err(_) => {
                let message = format!("{} is not a known one", raw.mode);
                return Err(ConfigError::new("mode", message));
            }
        };
        if raw.levels.is_empty() && mode != LocalityMode::Disabled {
            return Err(ConfigError::new("levels", "is empty"));
        }
        let region = |raw: &pb::RegionFailover| {
            if raw.from.is_empty() || raw.to.is_empty() {
                return Err(ConfigError::new("from", "or to is empty"));
            }
            Ok((raw.from.as_str().into(), raw.to.as_str().into()))
        };
        Ok(Self {
            mode,
            levels: decode_all("levels", &raw.levels, level)?.into(),
            failover: decode_all("failover", &raw.failover, region)?.into(),
        })
    }

    /// How far away an endpoint is from `here`, 0 being the nearest; none if it is not to be used. Where it is not known
    /// where here is, all are alike, and none is the own place.
    pub fn distance(&self, here: Option<&Workload>, endpoint: &Workload) -> Option<usize> {
        let shared = |level: &&Level| here.is_some_and(|here| shares(**level, here, endpoint));
        let common = self.levels.iter().take_while(shared).count();
        let missing = self.levels.len() - common;
        match self.mode {
            LocalityMode::Disabled => Some(0),
            LocalityMode::Strict => (missing == 0).then_some(0),
            LocalityMode::Failover => {
                let next = here
                    .filter(|_| common == 0)
                    .and_then(|here| self.next(here));
                let passed_over =
                    next.is_some_and(|region| **region != *endpoint.locality().region);
                Some(missing + usize::from(passed_over))
            }
        }
    }

    /// The region after the own one.
    fn next(&self, here: &Workload) -> Option<&Arc<str>> {
        let own = &here.locality().region;
        let found = self.failover.iter().find(|(from, _)| **from == **own);
        found.map(|(_, to)| to)
    }
}

/// Nodes without labels are all at the same place: the one without a name.
fn shares(level: Level, here: &Workload, endpoint: &Workload) -> bool {
    let (one, other) = (here.locality(), endpoint.locality());
    match level {
        Level::Region => one.region == other.region,
        Level::Zone => one.zone == other.zone,
        Level::Subzone => one.subzone == other.subzone,
        Level::Node => here.node() == endpoint.node() && !here.node().is_empty(),
        Level::Cluster => here.cluster_id() == endpoint.cluster_id(),
        Level::Network => here.network() == endpoint.network(),
    }
}

fn level(raw: &i32) -> Result<Level, ConfigError> {
    use pb::LocalityLevel as Raw;
    match Raw::try_from(*raw) {
        Ok(Raw::Region) => Ok(Level::Region),
        Ok(Raw::Zone) => Ok(Level::Zone),
        Ok(Raw::Subzone) => Ok(Level::Subzone),
        Ok(Raw::Node) => Ok(Level::Node),
        Ok(Raw::Unspecified) | Err(_) => {
            let message = format!("{raw} is not a known one");
            Err(ConfigError::new("level", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(mode: pb::LocalityMode, levels: &[pb::LocalityLevel]) -> pb::Locality {
        pb::Locality {
            mode: mode.into(),
            levels: levels.iter().map(|level| (*level).into()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |raw: pb::Locality| Locality::decode(&raw).unwrap_err().to_string();
        assert_eq!(
            refused(pb::Locality::default()),
            "mode: 0 is not a known one"
        );
        let strict = pb::LocalityMode::Strict;
        assert_eq!(refused(raw(strict, &[])), "levels: is empty");
        let unknown = pb::Locality {
            levels: vec![1, 9],
            ..raw(strict, &[])
        };
        assert_eq!(refused(unknown), "levels[1].level: 9 is not a known one");
        let nowhere = pb::Locality {
            failover: vec![pb::RegionFailover::default()],
            ..raw(pb::LocalityMode::Failover, &[pb::LocalityLevel::Region])
        };
        assert_eq!(refused(nowhere), "failover[0].from: or to is empty");
        assert!(Locality::decode(&raw(pb::LocalityMode::Disabled, &[])).is_ok());
    }

    #[test]
    fn a_service_prefers_and_never_excludes() {
        let of = |mode, levels: &[Level]| {
            Locality::of_service(&LoadBalancing {
                mode,
                routing_preference: levels.to_vec(),
                ..LoadBalancing::default()
            })
        };
        let zones = [Level::Region, Level::Zone];
        let near = of(LoadBalancingMode::Failover, &zones).unwrap();
        assert_eq!(
            (near.mode, &*near.levels),
            (LocalityMode::Failover, &zones[..])
        );
        assert_eq!(of(LoadBalancingMode::Strict, &[Level::Node]), None);
        assert_eq!(of(LoadBalancingMode::Unspecified, &[]), None);
    }
}
