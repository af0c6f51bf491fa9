//! What became of the listeners of a Gateway of class `culvert`, for whoever writes its status.

use crate::model::Kind;

/// All listeners of a Gateway, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// One for each.
    pub listeners: Vec<ListenerState>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerState {
    /// Its name.
    pub name: String,
    /// How many routes are attached to it.
    pub attached: u32,
    /// Which kinds of route it takes.
    pub kinds: Vec<Kind>,
    /// What is to be said of it.
    pub words: Vec<ListenerWord>,
}

/// One condition of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerWord {
    /// Its type.
    pub condition: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// Why, for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}
