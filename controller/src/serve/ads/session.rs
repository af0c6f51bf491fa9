//! One stream's state, without I/O: what the client has, what it ought to have, what it has not answered yet.
//!
//! Invariants: a policy goes out before the addresses that name it and is removed after them; the next round of changes
//! waits until the client has answered the last one, so that a slow client gets fewer and larger rounds; what was sent is
//! sent again only if it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use culvert_proto::ads::DeltaDiscoveryRequest;
use imbl::ordmap::DiffItem;

use super::view;
use super::wire::Response;
use crate::engine::{Client, Resources, Served, Snapshot};
use crate::translate::Type;

const WILDCARD: &str = "*";

/// One stream's state.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    subscriptions: BTreeMap<Type, Subscription>,
    unanswered: BTreeMap<String, Type>,
    refused: BTreeSet<Type>,
    nonce: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    /// To all that concerns the client.
    wildcard: bool,
    /// To these, whatever names the client knows them by.
    names: BTreeSet<String>,
    /// What the client has.
    sent: Resources,
}

/// What a client said of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Type,
    /// Set if it was refused.
    pub(super) error: Option<String>,
}

/// A type that this server does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownType(pub(super) String);

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            subscriptions: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            refused: BTreeSet::new(),
            nonce: 0,
        }
    }

    /// Whether the client has answered all that it was sent.
    pub(super) fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Whether the client took everything, and asked for all of these.
    pub(super) fn has_taken(&self, kinds: &[Type]) -> bool {
        let asked = |kind| self.subscriptions.contains_key(kind);
        self.is_settled() && self.refused.is_empty() && kinds.iter().all(asked)
    }

    /// Take a request: an answer, a subscription, or both.
    pub(super) fn request(
        &mut self,
        snapshot: &Snapshot,
        request: DeltaDiscoveryRequest,
    ) -> Result<(Option<Answer>, Option<Response>), UnknownType> {
        let Some(kind) = Type::of_url(&request.type_url) else {
            return Err(UnknownType(request.type_url));
        };
        let answer = self.answer(kind, &request);
        let view = view::of(snapshot, &self.client, kind);
        let response = match self.subscriptions.remove(&kind) {
            None => {
                let (subscription, changes) = Subscription::open(snapshot, &view, request);
                self.subscriptions.insert(kind, subscription);
                // The first is sent even if it is empty: it says that there is nothing more.
                Some(self.response(kind, changes))
            }
            Some(mut subscription) => {
                let changes = subscription.change(snapshot, &view, &request);
                self.subscriptions.insert(kind, subscription);
                (!changes.is_empty()).then(|| self.response(kind, changes))
            }
        };
        Ok((answer, response))
    }

    /// What differs between what the client has and what it ought to have by this snapshot, in the order of sending.
    pub(super) fn push(&mut self, snapshot: &Snapshot) -> Vec<Response> {
        let mut rounds = Vec::new();
        let mut last = None;
        for (kind, subscription) in &mut self.subscriptions {
            let view = view::of(snapshot, &self.client, *kind);
            let wanted = subscription.wanted(snapshot, &view);
            let mut changes = Changes::between(&subscription.sent, &wanted);
            subscription.sent = wanted;
            if *kind == Type::Authorization && !changes.removed.is_empty() {
                let removed = std::mem::take(&mut changes.removed);
                last = Some((
                    *kind,
                    Changes {
                        resources: Vec::new(),
                        removed,
                    },
                ));
            }
            if !changes.is_empty() {
                rounds.push((*kind, changes));
            }
        }
        rounds.extend(last);
        let response = |(kind, changes)| self.response(kind, changes);
        rounds.into_iter().map(response).collect()
    }

    fn answer(&mut self, kind: Type, request: &DeltaDiscoveryRequest) -> Option<Answer> {
        if self.unanswered.get(&request.response_nonce) != Some(&kind) {
            // Of its own accord, or to something that was never sent.
            return None;
        }
        self.unanswered.remove(&request.response_nonce);
        let error = request
            .error_detail
            .as_ref()
            .map(|error| error.message.clone());
        if error.is_some() {
            self.refused.insert(kind);
        } else {
            self.refused.remove(&kind);
        }
        Some(Answer { kind, error })
    }

    fn response(&mut self, kind: Type, changes: Changes) -> Response {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        self.unanswered.insert(nonce.clone(), kind);
        let Changes { resources, removed } = changes;
        Response {
            kind,
            nonce,
            resources,
            removed,
        }
    }
}

impl Subscription {
    /// The first request of a type. It may say what the client has from an earlier stream.
    fn open(
        snapshot: &Snapshot,
        view: &Resources,
        request: DeltaDiscoveryRequest,
    ) -> (Self, Changes) {
        let mut subscription = Self {
            wildcard: request.resource_names_subscribe.is_empty(),
            ..Self::default()
        };
        let mut changes = subscription.change(snapshot, view, &request);
        let wanted = subscription.wanted(snapshot, view);
        let mut gone = Vec::new();
        for (name, version) in request.initial_resource_versions {
            match wanted.get(name.as_str()) {
                None => gone.push(name),
                Some(served) if *served.version == *version => {
                    subscription
                        .sent
                        .insert(served.name.clone(), served.clone());
                    changes
                        .resources
                        .retain(|resource| resource.name != served.name);
                }
                Some(_) => {}
            }
        }
        let rest = Changes::between(&subscription.sent, &wanted);
        for resource in rest.resources {
            if !changes.resources.contains(&resource) {
                changes.resources.push(resource);
            }
        }
        for name in gone {
            if !changes.removed.contains(&name) {
                changes.removed.push(name);
            }
        }
        subscription.sent = wanted;
        (subscription, changes)
    }

    /// Subscribe and unsubscribe. What is asked for by name is answered even if it was sent before.
    fn change(
        &mut self,
        snapshot: &Snapshot,
        view: &Resources,
        request: &DeltaDiscoveryRequest,
    ) -> Changes {
        let mut changes = Changes::default();
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            self.names.insert(name.clone());
            match find(snapshot, view, name) {
                Some(served) => {
                    self.sent.insert(served.name.clone(), served.clone());
                    changes.resources.push(served);
                }
                None => changes.removed.push(name.clone()),
            }
        }
        for name in &request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            }
            self.names.remove(name);
        }
        if !request.resource_names_unsubscribe.is_empty() {
            // The client has dropped these itself.
            let wanted = self.wanted(snapshot, view);
            self.sent = self
                .sent
                .iter()
                .filter(|(name, _)| wanted.contains_key(*name))
                .map(clone)
                .collect();
        }
        changes
    }

    /// What the client ought to have.
    fn wanted(&self, snapshot: &Snapshot, view: &Resources) -> Resources {
        if self.wildcard {
            return view.clone();
        }
        let named = self
            .names
            .iter()
            .filter_map(|name| find(snapshot, view, name));
        named.map(|served| (served.name.clone(), served)).collect()
    }
}

/// A resource by any of its names.
fn find(snapshot: &Snapshot, view: &Resources, name: &str) -> Option<Arc<Served>> {
    let named = view.get(name);
    let aliased = || view.get(snapshot.aliases.get(name)?);
    named.or_else(aliased).cloned()
}

fn clone((name, served): (&Arc<str>, &Arc<Served>)) -> (Arc<str>, Arc<Served>) {
    (name.clone(), served.clone())
}

/// What a response says.
#[derive(Debug, Default)]
struct Changes {
    resources: Vec<Arc<Served>>,
    removed: Vec<String>,
}

impl Changes {
    /// Time goes with what differs, not with what there is.
    fn between(before: &Resources, now: &Resources) -> Self {
        let mut changes = Self::default();
        for item in before.diff(now) {
            match item {
                DiffItem::Add(_, served) => changes.resources.push(served.clone()),
                DiffItem::Update {
                    new: (_, served), ..
                } => changes.resources.push(served.clone()),
                DiffItem::Remove(name, _) => changes.removed.push(name.to_string()),
            }
        }
        changes
    }

    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests;
