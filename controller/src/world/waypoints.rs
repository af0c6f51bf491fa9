//! Which waypoints are connected, and for which services and pods each is programmed.
//!
//! Invariants: once programmed, a waypoint stays mandatory for its consumer until the consumer asks for none or for another
//! one. That a waypoint is away, gone or no longer allowed changes nothing of it. On Kubernetes none is programmed before
//! the cluster has it in writing: at its Gateway, which may be deleted, and in a ledger that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Kind, NsName, Purpose};

/// What a waypoint serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// A service.
    Service(NsName),
    /// A service outside of the cluster.
    Entry(NsName),
    /// A pod.
    Pod(NsName),
}

impl Consumer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NsName {
        match self {
            Self::Service(name) | Self::Entry(name) | Self::Pod(name) => name,
        }
    }

    /// The kind of the object.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Entry(_) => Kind::ServiceEntry,
            Self::Pod(_) => Kind::Pod,
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
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
    /// What the cluster's ledger has. None where another memory is kept.
    stored: Option<BTreeMap<NsName, Purpose>>,
    /// Those that could be programmed if they were in writing.
    unwritten: BTreeSet<NsName>,
}

/// What the ledger is to have, and no longer to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// To be written.
    pub keep: BTreeMap<NsName, Purpose>,
    /// To be removed.
    pub forget: BTreeSet<NsName>,
}

/// What is remembered of one waypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    services: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    entries: Vec<String>,
    pods: Vec<String>,
}

impl Waypoints {
    /// None but those that the cluster's ledger has.
    #[must_use]
    pub fn of_ledger(stored: BTreeMap<NsName, Purpose>) -> Self {
        Self {
            stored: Some(stored),
            ..Self::default()
        }
    }

    /// The ledger has this now. Gives back the waypoints of which it says something else than before.
    pub fn store(&mut self, stored: BTreeMap<NsName, Purpose>) -> BTreeSet<NsName> {
        self.unwritten.retain(|name| !stored.contains_key(name));
        let before = self.stored.replace(stored).unwrap_or_default();
        let now = self.stored.iter().flatten();
        let differs = now.filter(|(name, purpose)| before.get(*name) != Some(*purpose));
        let mut moved: BTreeSet<_> = differs.map(|(name, _)| name.clone()).collect();
        let gone = before.into_keys().filter(|name| !self.is_stored(name));
        moved.extend(gone);
        moved
    }

    fn is_stored(&self, waypoint: &NsName) -> bool {
        let stored = self.stored.as_ref();
        stored.is_some_and(|stored| stored.contains_key(waypoint))
    }

    /// Whether it may be programmed by an acknowledgement alone. If the cluster has not got it in writing, that is wished.
    pub fn may_program(&mut self, waypoint: &NsName) -> bool {
        let written =
            self.stored.is_none() || self.is_stored(waypoint) || self.announced.contains(waypoint);
        if !written {
            self.unwritten.insert(waypoint.clone());
        }
        written
    }

    /// Whether it was programmed for pods, as far as is remembered.
    #[must_use]
    pub fn serves_pods(&self, waypoint: &NsName) -> bool {
        let stored = self.stored.as_ref().and_then(|all| all.get(waypoint));
        stored.is_some_and(|purpose| purpose.workloads())
            || self
                .consumers(waypoint)
                .any(|consumer| matches!(consumer, Consumer::Pod(_)))
    }

    /// What the ledger is to have: given what each Gateway that is there is for, and who is asked for. None where there
    /// is no ledger.
    pub fn wishes(
        &self,
        purpose: impl Fn(&NsName) -> Option<Purpose>,
        wanted: impl Fn(&NsName) -> bool,
    ) -> Option<Wishes> {
        let stored = self.stored.as_ref()?;
        let mut wishes = Wishes::default();
        let known = self.announced.iter().chain(&self.unwritten);
        for name in known.chain(self.programmed.keys()) {
            let purpose = purpose(name).or_else(|| stored.get(name).copied());
            let purpose = purpose.unwrap_or_else(|| self.served(name));
            if stored.get(name) != Some(&purpose) {
                wishes.keep.insert(name.clone(), purpose);
            }
        }
        let idle = |name: &&NsName| {
            purpose(name).is_none() && !wanted(name) && !self.programmed.contains_key(name)
        };
        wishes.forget = stored.keys().filter(idle).cloned().collect();
        Some(wishes)
    }

    /// What it is for by whom it is programmed for.
    fn served(&self, waypoint: &NsName) -> Purpose {
        let service =
            |consumer: &Consumer| matches!(consumer, Consumer::Service(_) | Consumer::Entry(_));
        let services = self.consumers(waypoint).any(service);
        match (services, self.serves_pods(waypoint)) {
            (true, true) => Purpose::All,
            (false, true) => Purpose::Workload,
            (_, false) => Purpose::Service,
        }
    }

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
                self.unwritten.remove(waypoint);
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
        self.programmed.contains_key(waypoint)
            || self.announced.contains(waypoint)
            || self.is_stored(waypoint)
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
                    Consumer::Entry(name) => entry.entries.push(name.to_string()),
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
        for (waypoint, remembered) in remembered {
            let Some(waypoint) = NsName::parse(waypoint) else {
                continue;
            };
            let names = |texts: &[String]| -> Vec<_> {
                texts.iter().filter_map(|t| NsName::parse(t)).collect()
            };
            let Remembered {
                services,
                entries,
                pods,
            } = remembered;
            for consumer in names(services)
                .into_iter()
                .map(Consumer::Service)
                .chain(names(entries).into_iter().map(Consumer::Entry))
                .chain(names(pods).into_iter().map(Consumer::Pod))
            {
                waypoints.program(&waypoint, &consumer);
            }
        }
        waypoints
    }
}
