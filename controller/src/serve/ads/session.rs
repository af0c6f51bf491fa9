//! One stream's state, without I/O: what the client has, what it ought to have, what it has not answered yet.
//!
//! Invariants: a policy or certificate goes out before what names it and is removed after that; the next round of changes
//! waits until the client has answered the last one, so that a slow client gets fewer and larger rounds; what was sent is
//! sent again only if it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use culvert_proto::ads::DeltaDiscoveryRequest;

use super::subscription::Subscription;
use super::wire::Response;
use crate::engine::{Client, Delta, Snapshot};
use crate::translate::Type;

/// One stream's state.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    subscriptions: BTreeMap<Type, Subscription>,
    unanswered: BTreeMap<String, Type>,
    refused: BTreeSet<Type>,
    /// Whether what is served may be older than what the client has from an earlier stream.
    lags: bool,
    nonce: u64,
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
pub(super) struct UnknownType {
    pub(super) type_url: String,
    /// Whether it was asked for, rather than what was said of it answered.
    pub(super) asks: bool,
}

impl Session {
    /// Of a client that may have got newer things elsewhere, if what is served here may lag.
    pub(super) fn new(client: Client, lags: bool) -> Self {
        Self {
            client,
            subscriptions: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            refused: BTreeSet::new(),
            lags,
            nonce: 0,
        }
    }

    /// Whether the client has answered all that it was sent.
    pub(super) fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Whether the client keeps what would be taken away if this were the newer state.
    pub(super) fn holds(&self) -> bool {
        self.subscriptions.values().any(Subscription::holds)
    }

    /// What is served is no older than what the client has: from the next round on it gets what is held.
    pub(super) fn caught_up(&mut self) {
        self.lags = false;
        self.subscriptions
            .values_mut()
            .for_each(Subscription::release);
    }

    /// Whether the client took everything, and asked for all of these.
    pub(super) fn has_taken(&self, kinds: &[Type]) -> bool {
        let asked = |kind| self.subscriptions.contains_key(kind);
        self.is_settled() && !self.holds() && self.refused.is_empty() && kinds.iter().all(asked)
    }

    /// Take a request: an answer, a subscription, or both.
    pub(super) fn request(
        &mut self,
        snapshot: &Snapshot,
        request: DeltaDiscoveryRequest,
    ) -> Result<(Option<Answer>, Option<Response>), UnknownType> {
        let Some(kind) = Type::of_url(&request.type_url) else {
            return Err(UnknownType {
                type_url: request.type_url,
                asks: request.response_nonce.is_empty(),
            });
        };
        let answer = self.answer(kind, &request);
        let response = match self.subscriptions.get_mut(&kind) {
            None => {
                let (subscription, delta) =
                    Subscription::open(snapshot, self.lags, &self.client, kind, request);
                self.subscriptions.insert(kind, subscription);
                // The first is sent even if it is empty: it says that there is nothing more.
                Some(self.response(kind, delta))
            }
            Some(subscription) => {
                let delta = subscription.change(snapshot, &request);
                (!delta.is_empty()).then(|| self.response(kind, Arc::new(delta)))
            }
        };
        Ok((answer, response))
    }

    /// What differs between what the client has and what it ought to have by this snapshot, in the order of sending.
    pub(super) fn push(&mut self, snapshot: &Snapshot) -> Vec<Response> {
        let mut rounds = Vec::new();
        let mut last = Vec::new();
        for (kind, subscription) in &mut self.subscriptions {
            let Some(delta) = subscription.push(snapshot) else {
                continue;
            };
            let named = matches!(
                kind,
                Type::Authorization | Type::EgressPolicy | Type::Certificate
            );
            if !named || delta.removed.is_empty() {
                rounds.push((*kind, delta));
                continue;
            }
            let (added, removed) = (delta.resources.clone(), delta.removed.clone());
            if !added.is_empty() {
                rounds.push((*kind, Arc::new(Delta::new(added, Vec::new()))));
            }
            last.push((*kind, Arc::new(Delta::new(Vec::new(), removed))));
        }
        rounds.extend(last);
        let response = |(kind, delta)| self.response(kind, delta);
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

    fn response(&mut self, kind: Type, delta: Arc<Delta>) -> Response {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        self.unanswered.insert(nonce.clone(), kind);
        Response { kind, nonce, delta }
    }
}

#[cfg(test)]
mod tests;
