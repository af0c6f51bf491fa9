//! What is served at one moment: immutable, shared with the moment before as far as nothing changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use culvert_proto::ads;
use imbl::OrdMap;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{NodeView, Scope};
use crate::model::NsName;
use crate::translate::{Resource, Type};

/// Resources of one type, by name.
pub type Resources = OrdMap<Arc<str>, Arc<Served>>;

/// A resource as it goes out, encoded once for all clients.
#[derive(Debug)]
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// A hash of what it says.
    pub version: Box<str>,
    /// Other names.
    pub aliases: Vec<Arc<str>>,
    /// Its place in a response: key, length, `ads::Resource`.
    pub field: Bytes,
}

/// The number of `resources` in `DeltaDiscoveryResponse`.
const RESOURCES: u32 = 2;

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
            field: field.freeze(),
        }
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
    /// What a waypoint gets in place of a policy that is about itself.
    pub waived: Resources,
    /// Names of addresses by their other names.
    pub aliases: OrdMap<Arc<str>, Arc<str>>,
    /// What concerns each node.
    pub nodes: OrdMap<Arc<str>, Arc<NodeView>>,
    /// What concerns each waypoint.
    pub waypoints: OrdMap<NsName, Arc<Scope>>,
    /// The longest lifetime of a certificate.
    pub certificate_ttl: Duration,
}

impl Snapshot {
    /// All of a type.
    #[must_use]
    pub fn all(&self, kind: Type) -> Resources {
        self.resources.get(&kind).cloned().unwrap_or_default()
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
