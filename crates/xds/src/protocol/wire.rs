//! A response as it is read: the names and versions of its resources, and bodies that are parts of the message itself.
//!
//! Invariant: a response that cannot be read as a whole changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashSet, HashSetExt as _};
use prost::{DecodeError, Message};

use super::{MAX_RESOURCE_BYTES, truncated};
use crate::handler::{Rejected, Resource, Update};

/// `DeltaDiscoveryResponse`, its resources still to be read: a first response has all of the mesh.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    resources: Vec<Bytes>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed_resources: Vec<String>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
struct Sent {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    resource: Option<Any>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    aliases: Vec<String>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl Response {
    /// Puts the lists into the form of an [`Update`]. Each name is told, also the other names of resources.
    pub(super) fn read(self, mut name: impl FnMut(&str)) -> Result<Update, DecodeError> {
        let mut update = Update::default();
        update.resources.reserve_exact(self.resources.len());
        let mut seen: HashSet<Arc<str>> = HashSet::with_capacity(self.resources.len());
        // Backwards, so that of several the last is met first.
        for bytes in self.resources.into_iter().rev() {
            let sent = Sent::decode(bytes)?;
            sent.aliases
                .iter()
                .chain([&sent.name])
                .for_each(|known| name(known));
            if seen.contains(sent.name.as_str()) {
                continue;
            }
            let name: Arc<str> = sent.name.into();
            seen.insert(name.clone());
            match body(&name, &self.type_url, sent.resource) {
                Ok(body) => update.resources.push(Resource {
                    name,
                    version: sent.version.as_str().into(),
                    body,
                }),
                Err(error) => update.unreadable.push(Rejected { name, error }),
            }
        }
        update.resources.reverse();
        update.unreadable.reverse();
        for removed in self.removed_resources {
            name(&removed);
            let removed: Arc<str> = removed.into();
            if !removed.is_empty() && seen.insert(removed.clone()) {
                update.removed.push(removed);
            }
        }
        Ok(update)
    }
}

fn body(name: &str, type_url: &str, resource: Option<Any>) -> Result<Bytes, String> {
    let Some(any) = resource else {
        return Err("has no body".to_owned());
    };
    if name.is_empty() {
        Err("has no name".to_owned())
    } else if any.type_url != type_url {
        Err(format!("is of type {:?}", truncated(&any.type_url, 128)))
    } else if any.value.len() > MAX_RESOURCE_BYTES {
        Err(format!(
            "has {} bytes, more than {MAX_RESOURCE_BYTES}",
            any.value.len()
        ))
    } else {
        Ok(any.value)
    }
}
