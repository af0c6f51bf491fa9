//! Which waypoints are connected, and for which services and pods each is programmed.
//!
//! Invariant: once programmed, a waypoint stays mandatory for its consumer until the consumer asks for none or for another
//! one. That a waypoint is away, gone or no longer allowed changes nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use crate::model::NsName;

/// What a waypoint serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// A service.
    Service(NsName),
    /// A pod.
    Pod(NsName),
}

impl Consumer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NsName {
        match self {
            Self::Service(name) | Self::Pod(name) => name,
        }
    }
}

impl Serialize for Consumer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name().serialize(serializer)
    }
}

/// All waypoints that are connected or programmed.
#[derive(Debug, Default)]
pub struct Waypoints {
    connected: BTreeMap<NsName, usize>,
    programmed: BTreeMap<NsName, BTreeSet<Consumer>>,
    /// Programmed by another replica's word.
    announced: BTreeSet<NsName>,
    /// For whom a connected one has taken everything, whether or not any instance is ready for traffic.
    acknowledged: BTreeMap<NsName, BTreeSet<Consumer>>,
}

/// What is remembered of one waypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    services: Vec<String>,
    pods: Vec<String>,
}

impl Waypoints {
    /// A stream of the waypoint opened.
    pub fn connect(&mut self, waypoint: &NsName) {
        *self.connected.entry(waypoint.clone()).or_default() += 1;
    }

    /// A stream of the waypoint ended.
    pub fn disconnect(&mut self, waypoint: &NsName) {
        if let Some(streams) = self.connected.get_mut(waypoint) {
            *streams -= 1;
            if *streams == 0 {
                self.connected.remove(waypoint);
                self.acknowledged.remove(waypoint);
            }
        }
    }

    /// Whether it has a stream.
    #[must_use]
    pub fn is_connected(&self, waypoint: &NsName) -> bool {
        self.connected.contains_key(waypoint)
    }

    /// Another replica says, or no longer says, that it is programmed.
    pub fn announce(&mut self, waypoint: &NsName, programmed: bool) {
        if programmed {
            self.announced.insert(waypoint.clone());
        } else {
            self.announced.remove(waypoint);
        }
    }

    /// Whether it was ever programmed for someone who still asks for it.
    #[must_use]
    pub fn is_programmed(&self, waypoint: &NsName) -> bool {
        self.programmed.contains_key(waypoint) || self.announced.contains(waypoint)
    }

    /// Whether it is mandatory for this consumer. For one that is new to it, a programmed waypoint that is connected must
    /// first say that it knows the consumer; from one that is away no such word will come.
    #[must_use]
    pub fn is_mandatory(&self, waypoint: &NsName, consumer: &Consumer) -> bool {
        let consumers = self.programmed.get(waypoint);
        consumers.is_some_and(|consumers| consumers.contains(consumer))
            || (self.is_programmed(waypoint)
                && (!self.is_connected(waypoint) || self.has_acknowledged(waypoint, consumer)))
    }

    /// An instance has taken all that concerns the consumer. Before one is ready for traffic it is not yet programmed.
    pub fn acknowledge(&mut self, waypoint: &NsName, consumer: &Consumer) -> bool {
        let consumers = self.acknowledged.entry(waypoint.clone()).or_default();
        consumers.insert(consumer.clone())
    }

    fn has_acknowledged(&self, waypoint: &NsName, consumer: &Consumer) -> bool {
        let consumers = self.acknowledged.get(waypoint);
        consumers.is_some_and(|consumers| consumers.contains(consumer))
    }

    /// How many instances are connected to this replica.
    #[must_use]
    pub fn instances(&self, waypoint: &NsName) -> usize {
        self.connected.get(waypoint).copied().unwrap_or_default()
    }

    /// For whom it is programmed.
    pub fn consumers(&self, waypoint: &NsName) -> impl Iterator<Item = &Consumer> + use<'_> {
        self.programmed.get(waypoint).into_iter().flatten()
    }

    /// The waypoint knows the consumer; whether that is new.
    pub fn program(&mut self, waypoint: &NsName, consumer: &Consumer) -> bool {
        let consumers = self.programmed.entry(waypoint.clone()).or_default();
        consumers.insert(consumer.clone())
    }

    /// The consumer asks for this waypoint, or for none: others are no longer mandatory for it. Gives back those that are
    /// programmed for nobody now.
    pub fn keep_only(&mut self, wanted: Option<&NsName>, consumer: &Consumer) -> Vec<NsName> {
        let mut idle = Vec::new();
        for (waypoint, consumers) in &mut self.acknowledged {
            if Some(waypoint) != wanted {
                consumers.remove(consumer);
            }
        }
        self.programmed.retain(|waypoint, consumers| {
            if Some(waypoint) != wanted && consumers.remove(consumer) && consumers.is_empty() {
                idle.push(waypoint.clone());
            }
            !consumers.is_empty()
        });
        idle
    }

    /// Everybody that a waypoint is programmed for.
    #[must_use]
    pub fn all_consumers(&self) -> Vec<Consumer> {
        self.programmed.values().flatten().cloned().collect()
    }

    /// For the next start.
    #[must_use]
    pub fn remember(&self) -> BTreeMap<String, Remembered> {
        let mut remembered: BTreeMap<String, Remembered> = BTreeMap::new();
        for (waypoint, consumers) in &self.programmed {
            let entry = remembered.entry(waypoint.to_string()).or_default();
            for consumer in consumers {
                match consumer {
                    Consumer::Service(name) => entry.services.push(name.to_string()),
                    Consumer::Pod(name) => entry.pods.push(name.to_string()),
                }
            }
        }
        remembered
    }

    /// What [`remember`](Self::remember) gave before this start.
    #[must_use]
    pub fn recall(remembered: &BTreeMap<String, Remembered>) -> Self {
        let mut waypoints = Self::default();
        for (waypoint, Remembered { services, pods }) in remembered {
            let Some(waypoint) = NsName::parse(waypoint) else {
                continue;
            };
            let names = |texts: &[String]| -> Vec<_> {
                texts.iter().filter_map(|t| NsName::parse(t)).collect()
            };
            for consumer in names(services)
                .into_iter()
                .map(Consumer::Service)
                .chain(names(pods).into_iter().map(Consumer::Pod))
            {
                waypoints.program(&waypoint, &consumer);
            }
        }
        waypoints
    }
}
