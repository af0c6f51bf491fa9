//! What is served at one moment: immutable, shared with the moment before as far as nothing changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use culvert_proto::ads;
use culvert_proto::istio::workload::{GatewayAddress, gateway_address::Destination};
use imbl::{OrdMap, OrdSet};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::delta::{Delta, Deltas};
use super::{NodeView, Scope};
use crate::model::NsName;
use crate::translate::listener::GatewayState;
use crate::translate::{Message, Resource, Type, names};

/// Resources of one type, by name.
pub type Resources = OrdMap<Arc<str>, Arc<Served>>;

/// A resource as it goes out, encoded once for all clients. It may hold a key, so that nobody sees it as text.
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// A hash of what it says.
    pub version: Box<str>,
    /// Other names.
    pub aliases: Box<[Arc<str>]>,
    /// The services that it is an endpoint of.
    pub services: Box<[Arc<str>]>,
    /// The waypoint that it sends to, by a name or another one.
    pub waypoint: Option<Arc<str>>,
    /// It is a service outside of the cluster.
    pub external: bool,
    /// Its place in a response: key, length, `ads::Resource`.
    pub field: Bytes,
}

/// The number of `resources` in `DeltaDiscoveryResponse`.
const RESOURCES: u32 = 2;

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl PartialEq for Served {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.name == other.name
    }
}

impl Served {
    /// Encode a resource.
    #[must_use]
    pub fn new(resource: Resource) -> Self {
        let Resource {
            name,
            aliases,
            message,
        } = resource;
        let type_url = message.kind().url().to_owned();
        let external = matches!(&message, Message::Service(service) if service.external);
        let (services, waypoint) = match &message {
            Message::Workload(workload) => {
                let services = workload.services.keys().map(|name| name.as_str().into());
                (
                    services.collect(),
                    waypoint_name(workload.waypoint.as_ref()),
                )
            }
            Message::Service(service) => (Box::default(), waypoint_name(service.waypoint.as_ref())),
            _ => (Box::default(), None),
        };
        let value = message.encode();
        let version = version(&value);
        let record = ads::Resource {
            version: version.clone(),
            name: name.to_string(),
            aliases: aliases.clone(),
            resource: Some(prost_types::Any { type_url, value }),
            ..ads::Resource::default()
        };
        let mut field = BytesMut::new();
        encode_key(RESOURCES, WireType::LengthDelimited, &mut field);
        encode_varint(record.encoded_len() as u64, &mut field);
        field.put_slice(&record.encode_to_vec());
        Self {
            name,
            version: version.into(),
            aliases: aliases.into_iter().map(Into::into).collect(),
            services,
            waypoint,
            external,
            field: field.freeze(),
        }
    }

    /// What a client has in a version that is not known here. It stands for that, and never goes out.
    #[must_use]
    pub fn elsewhere(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            aliases: Box::default(),
            services: Box::default(),
            waypoint: None,
            external: false,
            field: Bytes::new(),
        }
    }
}

fn waypoint_name(waypoint: Option<&GatewayAddress>) -> Option<Arc<str>> {
    match waypoint?.destination.as_ref()? {
        Destination::Address(address) => {
            let ip = names::address(&address.address)?;
            Some(format!("{}/{ip}", address.network).into())
        }
        Destination::Hostname(name) => Some(format!("{}/{}", name.namespace, name.hostname).into()),
    }
}

/// Equal for equal bytes, also after a restart.
fn version(value: &[u8]) -> String {
    let hash = boring::sha::sha256(value);
    hash[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with each.
    pub generation: u64,
    /// All of each type but pods, which belong to their nodes.
    pub resources: BTreeMap<Type, Resources>,
    /// The generation that each type is of: equal stamps, equal resources.
    pub stamps: BTreeMap<Type, u64>,
    /// What differs between earlier moments and this one, as far as anybody asked.
    pub deltas: Deltas,
    /// What a waypoint gets in place of a policy that is about itself.
    pub waived: Resources,
    /// Names of addresses by their other names.
    pub aliases: OrdMap<Arc<str>, Arc<str>>,
    /// Names of workloads by the service that they are endpoints of.
    pub endpoints: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
    /// Names of services outside of the cluster.
    pub external: OrdSet<Arc<str>>,
    /// What concerns each node.
    pub nodes: OrdMap<Arc<str>, Arc<NodeView>>,
    /// What concerns each waypoint.
    pub waypoints: OrdMap<NsName, Arc<Scope>>,
    /// What became of the listeners of each Gateway that serves some.
    pub gateways: OrdMap<NsName, Arc<GatewayState>>,
    /// The longest lifetime of a certificate.
    pub certificate_ttl: Duration,
}

impl Snapshot {
    /// All of a type.
    #[must_use]
    pub fn all(&self, kind: Type) -> Resources {
        self.resources.get(&kind).cloned().unwrap_or_default()
    }

    /// The generation in which anything of a type last changed.
    #[must_use]
    pub fn stamp(&self, kind: Type) -> u64 {
        self.stamps.get(&kind).copied().unwrap_or_default()
    }

    /// What a client lacks that has all of a type as of `stamp`, which was `before`.
    #[must_use]
    pub fn since(&self, kind: Type, stamp: u64, before: &Resources) -> Arc<Delta> {
        let empty = Resources::new();
        let now = self.resources.get(&kind).unwrap_or(&empty);
        self.deltas.get(kind, stamp, before, now)
    }

    /// Some of a type.
    pub fn named<'a>(&self, kind: Type, names: impl Iterator<Item = &'a Arc<str>>) -> Resources {
        let Some(all) = self.resources.get(&kind) else {
            return Resources::new();
        };
        names
            .filter_map(|name| all.get(name).map(|served| (name.clone(), served.clone())))
            .collect()
    }
}
