//! The waypoint's configuration as the controller sends it, decoded into types that can only hold what can be served.
//!
//! Invariant: decoding never guesses. A field that does not make sense is a [`ConfigError`] that names it.

pub mod backend_tls;
pub mod certificate;
pub mod clients;
pub mod cors;
mod error;
pub mod fault;
pub mod filter;
pub mod gateway;
pub mod locality;
pub mod matcher;
pub mod pattern;
pub mod persistence;
pub mod resilience;
pub mod retry;
pub mod route;
pub mod stream;
pub mod traffic;

use std::sync::Arc;
use std::time::Duration;

use culvert_proto::waypoint as pb;

pub use error::ConfigError;

/// A percentage as a count of ten thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerTenThousand(u32);

impl PerTenThousand {
    /// Every one.
    pub const ALL: Self = Self(10_000);

    /// Accepts 0 to 10,000.
    pub fn new(value: u32) -> Result<Self, ConfigError> {
        if value > 10_000 {
            return Err(ConfigError::new(
                "per_ten_thousand",
                format!("{value} is more than 10000"),
            ));
        }
        Ok(Self(value))
    }

    /// The share as a number from 0 to 10,000.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A service, and one of its ports or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRef {
    /// `NAMESPACE/HOSTNAME`.
    pub service: Arc<str>,
    /// 0 means every port.
    pub port: u16,
}

impl ServiceRef {
    /// Decodes a reference; the service must have a namespace and a hostname.
    pub fn decode(raw: &pb::ServiceRef) -> Result<Self, ConfigError> {
        let named = raw
            .service
            .split_once('/')
            .is_some_and(|(ns, host)| !ns.is_empty() && !host.is_empty());
        if !named {
            return Err(ConfigError::new(
                "service",
                format!("`{}` is not NAMESPACE/HOSTNAME", raw.service),
            ));
        }
        let port = u16::try_from(raw.port)
            .map_err(|_| ConfigError::new("port", format!("{} is not a port", raw.port)))?;
        Ok(Self {
            service: raw.service.as_str().into(),
            port,
        })
    }

    /// Whether the reference covers `port` of `service`.
    pub fn covers(&self, service: &str, port: u16) -> bool {
        *self.service == *service && (self.port == 0 || self.port == port)
    }
}

/// Decodes each element, naming the index of the first that is wrong.
pub(crate) fn decode_all<T, U>(
    field: &str,
    raw: &[T],
    decode: impl Fn(&T) -> Result<U, ConfigError>,
) -> Result<Vec<U>, ConfigError> {
    raw.iter()
        .enumerate()
        .map(|(index, item)| {
            decode(item).map_err(|error| error.within(&format!("{field}[{index}]")))
        })
        .collect()
}

/// Decodes an optional duration; a negative one is an error.
pub(crate) fn duration(
    field: &str,
    raw: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, ConfigError> {
    raw.map(|raw| {
        let seconds = u64::try_from(raw.seconds).ok();
        let nanos = u32::try_from(raw.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000);
        match (seconds, nanos) {
            (Some(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
            _ => Err(ConfigError::new(field, "is not a duration of zero or more")),
        }
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_references_need_namespace_and_port_range() {
        let decode = |service: &str, port| {
            ServiceRef::decode(&pb::ServiceRef {
                service: service.into(),
                port,
            })
            .map_err(|e| e.to_string())
        };
        assert!(decode("demo/web.demo.svc.cluster.local", 80).is_ok());
        assert_eq!(
            decode("web", 80).unwrap_err(),
            "service: `web` is not NAMESPACE/HOSTNAME"
        );
        assert_eq!(
            decode("demo/web", 70_000).unwrap_err(),
            "port: 70000 is not a port"
        );
        let every = decode("demo/web", 0).unwrap();
        assert!(every.covers("demo/web", 80) && !every.covers("demo/api", 80));
        assert!(!decode("demo/web", 81).unwrap().covers("demo/web", 80));
    }

    #[test]
    fn negative_durations_are_refused() {
        let raw = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(
            duration("d", Some(&raw(1, 5))).unwrap(),
            Some(Duration::new(1, 5))
        );
        assert_eq!(duration("d", None).unwrap(), None);
        assert!(duration("d", Some(&raw(-1, 0))).is_err());
        assert!(duration("d", Some(&raw(0, -1))).is_err());
    }
}
