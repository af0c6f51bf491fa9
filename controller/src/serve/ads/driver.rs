//! Moves one stream: requests in, responses out, snapshots as they come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use culvert_proto::ads::DeltaDiscoveryRequest;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::session::{Answer, Session, UnknownType};
use super::wire::{Outgoing, Response};
use crate::engine::{Client, Component, Event, Scope, Snapshot};
use crate::metrics;
use crate::serve::Context;
use crate::source::kube::CatchUp;
use crate::translate::Type;

/// A client that does not answer a response within this is cut off, and comes back with what it has.
const ANSWER: Duration = Duration::from_secs(60);
/// That a client goes on taking everything is said so often.
const NEWS: Duration = Duration::from_secs(5);
/// What a waypoint must have taken before traffic may depend on it.
const PROGRAMMED: [Type; 3] = [Type::Authorization, Type::Address, Type::HttpRoute];

/// Moves one stream.
#[derive(Debug)]
pub(super) struct Driver {
    context: Context,
    client: Client,
    session: Session,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<Outgoing, Status>>,
    answer_by: Option<Instant>,
    /// Told when what is served is no older than what the client had when it came.
    caught_up: Option<oneshot::Receiver<()>>,
    /// What the waypoint was last said to be programmed for.
    programmed: Option<Arc<Scope>>,
    /// What the client has answered at all, as the engine was told.
    heard: BTreeSet<Type>,
    /// What the client refuses, as the engine was told.
    refused: BTreeSet<Type>,
    /// When the engine last heard of an answer.
    told: Option<Instant>,
}

/// Why a stream ends.
#[derive(Debug)]
enum End {
    /// The client went, or has been told why.
    Gone,
    /// The client is to be told this.
    Told(Status),
}

impl Driver {
    pub(super) fn new(
        context: Context,
        client: Client,
        requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::Sender<Result<Outgoing, Status>>,
    ) -> Self {
        Self {
            session: Session::new(client.clone(), context.catch_up.is_some()),
            context,
            client,
            requests,
            responses,
            answer_by: None,
            caught_up: None,
            programmed: None,
            heard: BTreeSet::new(),
            refused: BTreeSet::new(),
            told: None,
        }
    }

    /// Serve the stream to its end.
    pub(super) async fn run(mut self) {
        let Ok(Some(first)) = self.requests.message().await else {
            return;
        };
        let says = first
            .node
            .as_ref()
            .map(|node| node.id.clone())
            .unwrap_or_default();
        let component = Component::of(&self.client, &says);
        tracing::info!(client = %self.client, component = component.as_str(), "xDS stream opened");
        self.tell(Event::Connected(self.client.clone(), component))
            .await;
        let end = self.serve(component, first).await;
        if let Err(End::Told(status)) = end {
            tracing::info!(client = %self.client, reason = status.message(), "xDS stream ended");
            // The client may have gone.
            let _ = self.responses.send(Err(status)).await;
        } else {
            tracing::info!(client = %self.client, "xDS stream ended");
        }
        self.tell(Event::Disconnected(self.client.clone(), component))
            .await;
    }

    async fn serve(
        &mut self,
        component: Component,
        first: DeltaDiscoveryRequest,
    ) -> Result<(), End> {
        let mut snapshots = self.context.snapshots.clone();
        let drain = self.context.drain.clone();
        self.take(component, first).await?;
        loop {
            if self.session.is_settled() {
                let snapshot = snapshots.borrow_and_update().clone();
                self.push(&snapshot).await?;
            }
            let settled = self.session.is_settled();
            let late = self.answer_by.unwrap_or_else(|| Instant::now() + ANSWER);
            tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.take(component, request).await?,
                    Ok(None) | Err(_) => return Err(End::Gone),
                },
                changed = snapshots.changed(), if settled => if changed.is_err() {
                    return Err(End::Told(Status::unavailable("the controller is ending")));
                },
                () = tokio::time::sleep_until(late), if !settled => {
                    let message = "a response was not answered in time";
                    return Err(End::Told(Status::deadline_exceeded(message)));
                }
                told = caught_up(&mut self.caught_up), if self.caught_up.is_some() => {
                    self.caught_up = None;
                    if told {
                        self.session.caught_up();
                    }
                }
                () = drain.signaled() => {
                    return Err(End::Told(Status::unavailable("the controller is ending")));
                }
                () = self.responses.closed() => return Err(End::Gone),
            }
        }
    }

    async fn take(
        &mut self,
        component: Component,
        request: DeltaDiscoveryRequest,
    ) -> Result<(), End> {
        let snapshot = self.context.snapshots.borrow().clone();
        let (answer, response) = match self.session.request(&snapshot, request) {
            Ok(taken) => taken,
            Err(UnknownType { type_url, asks }) => return self.nothing(type_url, asks).await,
        };
        if let Some(Answer { kind, error }) = answer {
            self.answered(component, kind, error).await;
        }
        if let Some(response) = response {
            self.send(response).await?;
        }
        if self.session.is_settled() {
            self.answer_by = None;
        }
        if self.caught_up.is_none() && self.session.holds() {
            tracing::debug!(client = %self.client, "keeps what it has until this replica has caught up");
            self.caught_up = self.context.catch_up.as_ref().map(CatchUp::ask);
        }
        Ok(())
    }

    /// A newer client may ask for more than there is, and may wait until it has heard of every type. It is told that there
    /// is nothing, and keeps what it has from a newer controller.
    async fn nothing(&self, type_url: String, asks: bool) -> Result<(), End> {
        if !asks {
            return Ok(());
        }
        tracing::warn!(client = %self.client, type_url, "asked for a type that is not served");
        self.out(Outgoing::Nothing { type_url }).await
    }

    async fn answered(&mut self, component: Component, kind: Type, error: Option<String>) {
        if let Some(error) = &error {
            metrics::NACKS.with_label_values(&[&kind.to_string()]).inc();
            tracing::error!(client = %self.client, component = component.as_str(), %kind, error, "configuration refused");
            self.refused.insert(kind);
        } else {
            let news = self.heard.insert(kind) | self.refused.remove(&kind);
            if !news && self.told.is_some_and(|told| told.elapsed() < NEWS) {
                return;
            }
        }
        self.told = Some(Instant::now());
        let client = self.client.clone();
        self.tell(Event::Answered {
            client,
            component,
            kind,
            error,
        })
        .await;
    }

    async fn push(&mut self, snapshot: &Snapshot) -> Result<(), End> {
        let responses = self.session.push(snapshot);
        let unchanged = responses.is_empty();
        for response in responses {
            self.send(response).await?;
        }
        if let Client::Waypoint(name) = &self.client
            && unchanged
            && self.session.has_taken(&PROGRAMMED)
            && let Some(scope) = snapshot.waypoints.get(name)
            && self.programmed.as_ref() != Some(scope)
        {
            self.programmed = Some(scope.clone());
            self.tell(Event::Programmed(name.clone(), scope.clone()))
                .await;
        }
        Ok(())
    }

    async fn send(&mut self, response: Response) -> Result<(), End> {
        let kind = response.kind.to_string();
        let changes = response.delta.resources.len() + response.delta.removed.len();
        tracing::debug!(client = %self.client, kind, nonce = response.nonce, changes, "xDS response");
        metrics::PUSHES.with_label_values(&[&kind]).inc();
        metrics::RESOURCES
            .with_label_values(&[&kind])
            .inc_by(changes as u64);
        self.answer_by
            .get_or_insert_with(|| Instant::now() + ANSWER);
        self.out(Outgoing::Response(response)).await
    }

    async fn out(&self, outgoing: Outgoing) -> Result<(), End> {
        let sent = self.responses.send(Ok(outgoing)).await;
        sent.map_err(|_| End::Gone)
    }

    async fn tell(&self, event: Event) {
        // Without an engine the controller is ending.
        let _ = self.context.events.send(event).await;
    }
}

/// Whether it was said; if not, the controller is ending.
async fn caught_up(told: &mut Option<oneshot::Receiver<()>>) -> bool {
    match told {
        Some(told) => told.await.is_ok(),
        None => false,
    }
}
