//! What happens to the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use culvert_proto::node::Report;
use tokio::sync::oneshot;

use super::Scope;
use crate::model::{NsName, Object, Purpose};
use crate::source::Batch;
use crate::status::{Document, Verdicts};
use crate::translate::Type;
use crate::world::Owners;

/// Who speaks to the controller, by its token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// The agent or ztunnel of a node.
    Node(Arc<str>),
    /// A waypoint.
    Waypoint(NsName),
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Waypoint(name) => write!(f, "waypoint {name}"),
        }
    }
}

/// What a client is, by its own word. Only shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names of the programs")]
pub enum Component {
    Agent,
    Ztunnel,
    Waypoint,
}

impl Component {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ztunnel => "ztunnel",
            Self::Waypoint => "waypoint",
        }
    }

    /// What a client with this token may be, given what it says.
    #[must_use]
    pub fn of(client: &Client, says: &str) -> Self {
        match client {
            Client::Waypoint(_) => Self::Waypoint,
            Client::Node(_) if says.starts_with("agent") => Self::Agent,
            Client::Node(_) => Self::Ztunnel,
        }
    }
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// Objects changed.
    Batch(Batch),
    /// An xDS stream opened.
    Connected(Client, Component),
    /// An xDS stream ended.
    Disconnected(Client, Component),
    /// A stream of reports opened.
    ReportOpened(Client, Component),
    /// A stream of reports ended.
    ReportClosed(Client, Component),
    /// A component's account of itself.
    Report(Client, Component, Box<Report>),
    /// A client acknowledged a response, or refused it with these words.
    Answered {
        /// Who.
        client: Client,
        /// What it is.
        component: Component,
        /// Of which type.
        kind: Type,
        /// Why it refused.
        error: Option<String>,
    },
    /// The cluster's ledger says that these waypoints were programmed.
    Stored(BTreeMap<NsName, Purpose>),
    /// It is in writing that these namespaces have these hosts of Ingresses.
    Hosts(Owners),
    /// Everybody is to trust these.
    Roots(Vec<String>),
    /// A waypoint acknowledged all that is in this scope.
    Programmed(NsName, Arc<Scope>),
    /// Someone asks for the status.
    Status(oneshot::Sender<Document>),
    /// Someone asks what became of each object.
    Verdicts(oneshot::Sender<Verdicts>),
    /// Someone asks for the cache.
    Dump(oneshot::Sender<Vec<Object>>),
}
