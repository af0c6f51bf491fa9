//! Gateways in the status file: what became of their listeners, and who connected.

use std::sync::Arc;

use serde::Serialize;

use super::document::{Certificate, Process, View, certificates, process};
use crate::engine::{Client, Component};
use crate::model::{Kind, NsName};
use crate::translate::ingress;
use crate::translate::listener::{GatewayState, ListenerState, ListenerWord, SetState};

#[derive(Debug, Serialize)]
pub(super) struct Gateway {
    namespace: String,
    name: String,
    #[serde(flatten)]
    process: Process,
    programmed: bool,
    listeners: Vec<Listener>,
    #[serde(rename = "listenerSets")]
    sets: Vec<Set>,
    certificates: Vec<Certificate>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listener {
    name: String,
    attached_routes: u32,
    kinds: Vec<Kind>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Serialize)]
struct Set {
    namespace: String,
    name: String,
    accepted: bool,
    listeners: Vec<Listener>,
}

#[derive(Debug, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

pub(super) fn all(view: &View<'_>) -> Vec<Gateway> {
    let gateway = |(name, state): (&NsName, &Arc<GatewayState>)| {
        let client = Client::Waypoint(name.clone());
        let component = view.components.get(&client, Component::Waypoint);
        Gateway {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            process: process(component),
            programmed: ingress::is_programmed(view.world, name),
            listeners: state.listeners.iter().map(listener).collect(),
            sets: state.sets.iter().map(set).collect(),
            certificates: certificates(component),
        }
    };
    view.gateways.iter().map(gateway).collect()
}

fn set(state: &SetState) -> Set {
    Set {
        namespace: state.name.namespace.to_string(),
        name: state.name.name.to_string(),
        accepted: state.is_accepted(),
        listeners: state.listeners.iter().map(listener).collect(),
    }
}

fn listener(state: &ListenerState) -> Listener {
    let condition = |word: &ListenerWord| Condition {
        kind: word.condition,
        status: if word.status { "True" } else { "False" },
        reason: word.reason,
        message: word.message.clone(),
    };
    Listener {
        name: state.name.clone(),
        attached_routes: state.attached,
        kinds: state.kinds.clone(),
        conditions: state.words.iter().map(condition).collect(),
    }
}
