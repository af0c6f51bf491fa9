//! Agents, ztunnels and waypoints as they show themselves: streams, reports, refusals.

use std::collections::{BTreeMap, BTreeSet};

use culvert_proto::node::Report;
use k8s_openapi::jiff::Timestamp;

use crate::engine::{Client, Component};
use crate::metrics;
use crate::translate::Type;

/// All that ever connected to this controller.
#[derive(Debug, Default)]
pub struct Components(BTreeMap<(Client, Component), State>);

/// One of them.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Open streams.
    pub streams: usize,
    /// The last sign of life.
    pub last_seen: Option<Timestamp>,
    /// Its last account of itself.
    pub report: Report,
    /// Types that it has answered since it came.
    pub takes: BTreeSet<Type>,
    /// What it refuses, by type.
    pub refusals: BTreeMap<Type, String>,
}

impl Components {
    fn state(&mut self, client: &Client, component: Component) -> &mut State {
        let state = self.0.entry((client.clone(), component)).or_default();
        state.last_seen = Some(crate::clock::now());
        state
    }

    /// A stream opened.
    pub fn connected(&mut self, client: &Client, component: Component) {
        let state = self.state(client, component);
        if state.streams == 0 {
            // Another version may have come.
            state.takes.clear();
        }
        state.streams += 1;
        metrics::CLIENTS
            .with_label_values(&[component.as_str()])
            .inc();
    }

    /// A stream ended.
    pub fn disconnected(&mut self, client: &Client, component: Component) {
        let state = self.state(client, component);
        state.streams = state.streams.saturating_sub(1);
        metrics::CLIENTS
            .with_label_values(&[component.as_str()])
            .dec();
    }

    /// It gave an account of itself.
    pub fn reported(&mut self, client: &Client, component: Component, report: Report) {
        self.state(client, component).report = report;
    }

    /// It took a response, or refused it.
    pub fn answered(
        &mut self,
        client: &Client,
        component: Component,
        kind: Type,
        error: Option<String>,
    ) {
        let state = self.state(client, component);
        state.takes.insert(kind);
        let refusals = &mut state.refusals;
        match error {
            Some(error) => drop(refusals.insert(kind, error)),
            None => drop(refusals.remove(&kind)),
        }
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, client: &Client, component: Component) -> Option<&State> {
        self.0.get(&(client.clone(), component))
    }

    /// Names of the nodes that ever connected.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|(client, _)| match client {
            Client::Node(name) => Some(&**name),
            Client::Waypoint(_) => None,
        })
    }
}

impl State {
    /// What it refuses, in one line.
    #[must_use]
    pub fn error(&self) -> String {
        let refusals = self
            .refusals
            .iter()
            .map(|(kind, error)| format!("{kind}: {error}"));
        refusals.collect::<Vec<_>>().join("; ")
    }
}
