//! The state machine of delta ADS, without I/O: which versions are held, what a response changes, what to answer.
//!
//! Invariants:
//! * A response is answered once: ACK when all of it was applied, otherwise NACK with every refused name. What is not
//!   subscribed to is never ACKed.
//! * Within a response removals come before additions, and a name that is sent twice counts as its last sending.
//! * A held version is that of the last resource which was applied. A name whose every version was refused is held
//!   with an empty version, so that after a reconnect the server sends it again, or says that it is gone.
//! * Nothing of one stream reaches the next except held versions: after [`Machine::connect`] no earlier nonce is used.

mod wire;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_proto::ads::{self, DeltaDiscoveryRequest};
use culvert_proto::type_url;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use prost::Message as _;

use self::wire::Response;
use crate::demand::Demand;
use crate::handler::{Handler, Rejected, Update};
use crate::version::Version;

/// The largest body of one resource. A larger one is rejected by name.
pub const MAX_RESOURCE_BYTES: usize = 4 << 20;

/// How much of the errors goes into a NACK.
const MAX_NACK_BYTES: usize = 4 << 10;

/// All resources of a type.
const WILDCARD: &str = "*";

/// gRPC's INVALID_ARGUMENT, the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;

/// A server that cannot be talked to any further on this stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Without a nonce neither ACK nor NACK can name the response.
    #[error("the server sent a response without a nonce")]
    MissingNonce,
    /// What cannot be read cannot be answered either.
    #[error("the server sent a response that cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// What to do after a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The ACK or NACK to send.
    pub request: DeltaDiscoveryRequest,
    /// What was not applied; empty in an ACK.
    pub rejected: Vec<Rejected>,
}

/// The client's state, kept across streams.
#[derive(Clone, Debug)]
pub struct Machine {
    node: ads::Node,
    subscriptions: Vec<Subscription>,
    /// Addresses are asked for by name.
    demand: Option<Demand>,
    /// From the next stream on, all of them.
    grown: bool,
}

#[derive(Clone, Debug)]
struct Subscription {
    type_url: &'static str,
    held: HashMap<Arc<str>, Version>,
}

impl Machine {
    /// A client that subscribes to all resources of these types, in this order.
    #[must_use]
    pub fn new(node: ads::Node, types: &[&'static str]) -> Self {
        let mut subscriptions: Vec<Subscription> = Vec::new();
        for type_url in types {
            if !subscriptions.iter().any(|s| s.type_url == *type_url) {
                subscriptions.push(Subscription {
                    type_url,
                    held: HashMap::new(),
                });
            }
        }
        Self {
            node,
            subscriptions,
            demand: None,
            grown: false,
        }
    }

    /// The same client, which takes of the addresses only those that it names.
    #[must_use]
    pub fn on_demand(mut self, demand: Demand) -> Self {
        self.demand = Some(demand);
        self
    }

    /// What it names.
    #[must_use]
    pub fn demand(&self) -> Option<&Demand> {
        self.demand.as_ref()
    }

    /// Takes all addresses from the next stream on. Until they are in force, what is needed is still asked for by name.
    pub fn grow(&mut self) {
        self.grown = true;
    }

    /// Whether it takes all addresses, or would.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        self.grown || self.demand.is_none()
    }

    /// The request for names that were not asked for yet.
    #[must_use]
    pub fn ask(&self) -> Option<DeltaDiscoveryRequest> {
        let unsent = self.demand.as_ref()?.take_unsent();
        (!unsent.is_empty()).then(|| addresses(unsent, Vec::new()))
    }

    /// The request to be sent nothing more of what nobody used for so long. The server says what goes with it.
    #[must_use]
    pub fn give_back(&self, idle: Duration) -> Option<DeltaDiscoveryRequest> {
        let unused = self.demand.as_ref()?.take_idle(idle);
        let give_back = !self.grown && !unused.is_empty();
        give_back.then(|| addresses(Vec::new(), unused))
    }

    /// The first requests of a new stream.
    #[must_use]
    pub fn connect(&self) -> Vec<DeltaDiscoveryRequest> {
        let request = |subscription: &Subscription| {
            let demand = self.demand_of(subscription.type_url);
            let names = demand.map(|demand| {
                let wildcard = [Arc::from(WILDCARD)];
                let all = wildcard.iter().cloned().chain(demand.take_all());
                // To begin with nothing can only be said so.
                let but: &[_] = if self.grown { &[] } else { &wildcard };
                addresses(all.collect(), but.to_vec())
            });
            DeltaDiscoveryRequest {
                node: Some(self.node.clone()),
                type_url: subscription.type_url.to_owned(),
                initial_resource_versions: subscription
                    .held
                    .iter()
                    .map(|(name, version)| (name.to_string(), version.to_string()))
                    .collect(),
                ..names.unwrap_or_default()
            }
        };
        self.subscriptions.iter().map(request).collect()
    }

    fn demand_of(&self, type_url: &str) -> Option<&Demand> {
        self.demand.as_ref().filter(|demand| asks(demand, type_url))
    }

    /// Name and version of everything that is held of a type; the version is empty for what was never good.
    pub fn held(&self, type_url: &str) -> impl Iterator<Item = (&str, &Version)> {
        self.subscriptions
            .iter()
            .filter(move |subscription| subscription.type_url == type_url)
            .flat_map(|subscription| &subscription.held)
            .map(|(name, version)| (&**name, version))
    }

    /// The type as a metric label: its own name if it is subscribed to, so that a server cannot add series at will.
    #[must_use]
    pub fn label(&self, type_url: &str) -> &'static str {
        let mut urls = self
            .subscriptions
            .iter()
            .map(|subscription| subscription.type_url);
        urls.find(|url| *url == type_url).unwrap_or("unknown")
    }

    /// Applies a response, an encoded `DeltaDiscoveryResponse`, and makes the answer.
    pub fn receive(
        &mut self,
        message: Bytes,
        handler: &mut (impl Handler + ?Sized),
    ) -> Result<Reply, ProtocolError> {
        let mut response = Response::decode(message)?;
        if response.nonce.is_empty() {
            return Err(ProtocolError::MissingNonce);
        }
        let type_url = response.type_url.clone();
        let nonce = std::mem::take(&mut response.nonce);
        let mut subscriptions = self.subscriptions.iter_mut();
        let Some(subscription) = subscriptions.find(|s| s.type_url == type_url) else {
            let error = "this client did not subscribe to the type".to_owned();
            return Ok(reply(type_url, nonce, Some(error), Vec::new()));
        };
        let demand = self
            .demand
            .as_ref()
            .filter(|demand| asks(demand, &type_url));
        let mut answered = Vec::new();
        let update = response.read(|name| {
            if demand.is_some() {
                answered.push(name.to_owned());
            }
        })?;
        if let Some(demand) = demand {
            // Before anybody is told of the change: who waits looks here then.
            demand.answer(answered.iter().map(String::as_str));
        }
        let rejected = subscription.apply(update, handler);
        // The first response of a stream that asks for all of a type has all of it.
        if let Some(demand) = demand.filter(|_| self.grown) {
            demand.complete();
        }
        let error = (!rejected.is_empty()).then(|| describe(&rejected));
        Ok(reply(type_url, nonce, error, rejected))
    }
}

/// Whether names of this type are asked for.
fn asks(demand: &Demand, type_url: &str) -> bool {
    type_url == type_url::ADDRESS && !demand.is_whole()
}

/// A request for addresses by name.
fn addresses(subscribe: Vec<Arc<str>>, unsubscribe: Vec<Arc<str>>) -> DeltaDiscoveryRequest {
    let text = |names: Vec<Arc<str>>| names.iter().map(ToString::to_string).collect();
    DeltaDiscoveryRequest {
        type_url: type_url::ADDRESS.to_owned(),
        resource_names_subscribe: text(subscribe),
        resource_names_unsubscribe: text(unsubscribe),
        ..Default::default()
    }
}

impl Subscription {
    fn apply(
        &mut self,
        mut update: Update,
        handler: &mut (impl Handler + ?Sized),
    ) -> Vec<Rejected> {
        for resource in &mut update.resources {
            // What is held and what the handler keeps go on sharing one text.
            if let Some((known, _)) = self.held.get_key_value(&*resource.name) {
                resource.name = known.clone();
            }
        }
        let offered: Vec<_> = update
            .resources
            .iter()
            .map(|resource| (resource.name.clone(), resource.version.clone()))
            .collect();
        let removed = update.removed.clone();
        let mut rejected = update.unreadable.clone();
        let sent_unreadable: Vec<_> = rejected.iter().map(|r| r.name.clone()).collect();
        rejected.extend(handler.apply(self.type_url, update));

        let refused: HashSet<&str> = rejected.iter().map(|r| &*r.name).collect();
        for name in removed.iter().filter(|name| !refused.contains(&***name)) {
            self.held.remove(name);
        }
        self.make_room(offered.len());
        for (name, version) in offered {
            if refused.contains(&*name) {
                self.held.entry(name).or_default();
            } else {
                self.held.insert(name, version);
            }
        }
        for name in sent_unreadable.into_iter().filter(|name| !name.is_empty()) {
            self.held.entry(name).or_default();
        }
        rejected
    }

    /// What is removed from a hash table leaves marks that count as entries until the table grows to twice its size.
    /// Made anew instead, with room for a few more, it is as large as it has to be.
    fn make_room(&mut self, more: usize) {
        if self.held.capacity() - self.held.len() >= more {
            return;
        }
        let slack = self.held.len() / 32;
        let mut anew = HashMap::with_capacity(self.held.len() + more + slack);
        anew.extend(std::mem::take(&mut self.held));
        self.held = anew;
    }
}

fn reply(type_url: String, nonce: String, error: Option<String>, rejected: Vec<Rejected>) -> Reply {
    let request = DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: error.map(|message| ads::Status {
            code: INVALID_ARGUMENT,
            message,
            details: Vec::new(),
        }),
        ..Default::default()
    };
    Reply { request, rejected }
}

fn describe(rejected: &[Rejected]) -> String {
    let mut text = format!("{} rejected", rejected.len());
    for (index, one) in rejected.iter().enumerate() {
        if text.len() > MAX_NACK_BYTES {
            text.push_str("; and more");
            break;
        }
        let separator = if index == 0 { ": " } else { "; " };
        let error = truncated(&one.error, 512);
        // Writing into a String cannot fail.
        let _ = write!(text, "{separator}{}: {error}", truncated(&one.name, 512));
    }
    text
}

fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
