//! What became of the listeners of a Gateway of class `culvert`, and of its ListenerSets', for whoever writes their status.

use std::collections::BTreeSet;

use crate::model::{Kind, NsName};

/// All listeners of a Gateway, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// One for each.
    pub listeners: Vec<ListenerState>,
    /// What is wrong with the certificate that is for backends: a word for programs, and a sentence for people.
    pub client_certificate: Option<(&'static str, String)>,
    /// One for each ListenerSet that names it.
    pub sets: Vec<SetState>,
    /// Ports at which listeners of ListenerSets are served, or refuse their hosts.
    pub set_ports: BTreeSet<u16>,
    /// Clients without a good certificate are served at some port that asks for one.
    pub insecure: bool,
}

impl GatewayState {
    /// How many ListenerSets have a listener that is served.
    #[must_use]
    pub fn attached_sets(&self) -> usize {
        self.sets.iter().filter(|set| set.is_accepted()).count()
    }
}

/// One ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetState {
    /// Its name.
    pub name: NsName,
    /// Whether the Gateway takes listeners from it.
    pub allowed: bool,
    /// Its listeners, in its order; none of one that is not allowed.
    pub listeners: Vec<ListenerState>,
}

impl SetState {
    /// Whether a listener of it is served.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.listeners.iter().any(ListenerState::is_served)
    }
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

impl ListenerState {
    /// Whether it is served as far as the world knows: that instances are there is another's to say.
    #[must_use]
    pub fn is_served(&self) -> bool {
        let is = |condition| {
            let mut words = self.words.iter();
            words
                .find(|word| word.condition == condition)
                .map(|word| word.status)
        };
        is("Accepted") != Some(false) && is("Programmed") != Some(false)
    }
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
