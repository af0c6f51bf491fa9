//! What is on offer, what each ztunnel holds, and what it has to be sent next. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_runtime::netns::NetnsId;
use tokio::time::Instant;

use super::{Answer, Offer};
use crate::capture::rules::Flavour;

/// After a refusal.
pub(super) const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct State {
    offers: BTreeMap<String, (u64, Offer)>,
    peers: BTreeMap<u64, PeerState>,
    /// Counts up, for offers and peers alike.
    last: u64,
    had_peer: bool,
}

/// One connected ztunnel.
#[derive(Debug)]
struct PeerState {
    culvert: bool,
    held: BTreeMap<String, Held>,
    snapshot_sent: bool,
}

/// What a ztunnel was last sent of a pod.
#[derive(Debug)]
struct Held {
    revision: u64,
    id: NetnsId,
    /// `None` until it answered; when to try again if its answer was no.
    result: Option<Result<(), (String, Instant)>>,
}

/// What to send to a ztunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Add(Box<Offer>),
    Del(String),
    Snapshot,
    /// Nothing before this moment, unless something changes.
    Idle(Option<Instant>),
}

impl State {
    pub(super) fn offer(&mut self, offer: Offer) -> bool {
        let uid = offer.workload.uid.clone();
        if self.offers.get(&uid).is_some_and(|(_, old)| *old == offer) {
            return false;
        }
        self.last += 1;
        self.offers.insert(uid, (self.last, offer));
        true
    }

    pub(super) fn withdraw(&mut self, uid: &str) -> bool {
        self.offers.remove(uid).is_some()
    }

    pub(super) fn answer(&self, uid: &str) -> Answer {
        let Some((revision, _)) = self.offers.get(uid) else {
            return Answer::Waiting;
        };
        if self.peers.is_empty() {
            return Answer::NoZtunnel;
        }
        let held = self.peers.values().filter_map(|peer| peer.held.get(uid));
        let mut refusal = None;
        for held in held.filter(|held| held.revision == *revision) {
            match &held.result {
                Some(Ok(())) => return Answer::Accepted,
                Some(Err((error, _))) => refusal = Some(error.clone()),
                None => {}
            }
        }
        refusal.map_or(Answer::Waiting, Answer::Refused)
    }

    pub(super) fn is_held(&self, uid: &str) -> bool {
        self.peers.values().any(|peer| peer.held.contains_key(uid))
    }

    pub(super) fn had_peer(&self) -> bool {
        self.had_peer
    }

    pub(super) fn flavour(&self) -> Option<Flavour> {
        if self.peers.is_empty() {
            return None;
        }
        let stock = self.peers.values().any(|peer| !peer.culvert);
        Some(if stock {
            Flavour::Stock
        } else {
            Flavour::Culvert
        })
    }

    /// Connected ztunnels, ours and stock.
    pub(super) fn count(&self) -> (usize, usize) {
        let ours = self.peers.values().filter(|peer| peer.culvert).count();
        (ours, self.peers.len() - ours)
    }

    pub(super) fn join(&mut self, culvert: bool) -> u64 {
        self.last += 1;
        let peer = PeerState {
            culvert,
            held: BTreeMap::new(),
            snapshot_sent: false,
        };
        self.peers.insert(self.last, peer);
        self.last
    }

    pub(super) fn leave(&mut self, peer: u64) {
        self.peers.remove(&peer);
    }

    /// What `peer` has to be sent, after it answered what was sent before. A pod whose namespace was
    /// replaced is taken away before it is added. An Add counts as held from now on.
    pub(super) fn next(&mut self, peer: u64, now: Instant) -> Next {
        let Some(peer) = self.peers.get_mut(&peer) else {
            return Next::Idle(None);
        };
        for (uid, held) in &peer.held {
            let offer = self.offers.get(uid).map(|(_, offer)| offer);
            if offer.is_none_or(|offer| offer.id != held.id) {
                return Next::Del(uid.clone());
            }
        }
        let mut retry: Option<Instant> = None;
        for (uid, (revision, offer)) in &self.offers {
            let due = match peer.held.get(uid) {
                Some(held) if held.revision == *revision => match &held.result {
                    Some(Ok(())) => None,
                    Some(Err((_, at))) => Some(*at),
                    None => Some(now),
                },
                _ => Some(now),
            };
            match due {
                Some(at) if at <= now => {
                    let held = Held {
                        revision: *revision,
                        id: offer.id,
                        result: None,
                    };
                    peer.held.insert(uid.clone(), held);
                    return Next::Add(Box::new(offer.clone()));
                }
                Some(at) => retry = Some(retry.map_or(at, |first| first.min(at))),
                None => {}
            }
        }
        if peer.snapshot_sent {
            Next::Idle(retry)
        } else {
            Next::Snapshot
        }
    }

    pub(super) fn answered(&mut self, peer: u64, uid: &str, result: Result<(), String>) {
        let peer = self.peers.get_mut(&peer);
        if let Some(held) = peer.and_then(|peer| peer.held.get_mut(uid)) {
            held.result = Some(result.map_err(|error| (error, Instant::now() + RETRY)));
        }
    }

    pub(super) fn deleted(&mut self, peer: u64, uid: &str) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.held.remove(uid);
        }
    }

    pub(super) fn snapshot_sent(&mut self, peer: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.snapshot_sent = true;
            self.had_peer = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_zds::Workload;

    fn offer(uid: &str, inode: u64, mark: u32) -> Offer {
        Offer {
            workload: Workload {
                uid: uid.into(),
                info: None,
                mark,
                addresses: Vec::new(),
            },
            netns: "/run/netns/x".into(),
            id: NetnsId { dev: 4, inode },
        }
    }

    /// Do what `next` says, with the given answer to every Add, and say what was done.
    fn drain(state: &mut State, peer: u64, answer: &Result<(), String>) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            match state.next(peer, Instant::now()) {
                Next::Add(offer) => {
                    let (uid, mark) = (offer.workload.uid, offer.workload.mark);
                    done.push(format!("add {uid} {mark}"));
                    state.answered(peer, &uid, answer.clone());
                }
                Next::Del(uid) => {
                    done.push(format!("del {uid}"));
                    state.deleted(peer, &uid);
                }
                Next::Snapshot => {
                    done.push("snapshot".into());
                    state.snapshot_sent(peer);
                }
                Next::Idle(_) => return done,
            }
        }
    }

    #[test]
    fn a_ztunnel_gets_the_snapshot_then_changes() {
        let mut state = State::default();
        state.offer(offer("a", 1, 7));
        state.offer(offer("b", 2, 8));
        let peer = state.join(true);
        assert_eq!(
            drain(&mut state, peer, &Ok(())),
            ["add a 7", "add b 8", "snapshot"]
        );
        assert!(!state.offer(offer("a", 1, 7)), "nothing changed");
        assert!(state.offer(offer("a", 1, 9)));
        assert!(state.withdraw("b"));
        assert_eq!(drain(&mut state, peer, &Ok(())), ["del b", "add a 9"]);
        assert_eq!(state.answer("a"), Answer::Accepted);
        assert!(!state.is_held("b"));
    }

    #[test]
    fn a_replaced_namespace_is_taken_away_first() {
        let mut state = State::default();
        state.offer(offer("a", 1, 7));
        let peer = state.join(true);
        drain(&mut state, peer, &Ok(()));
        state.offer(offer("a", 2, 8));
        assert_eq!(state.answer("a"), Answer::Waiting);
        assert_eq!(drain(&mut state, peer, &Ok(())), ["del a", "add a 8"]);
    }

    #[test]
    fn a_refusal_is_told_and_tried_again_later() {
        let mut state = State::default();
        state.offer(offer("a", 1, 7));
        assert_eq!(state.answer("a"), Answer::NoZtunnel);
        let peer = state.join(true);
        assert_eq!(state.answer("a"), Answer::Waiting);
        drain(&mut state, peer, &Err("no".into()));
        assert_eq!(state.answer("a"), Answer::Refused("no".into()));
        let Next::Idle(Some(at)) = state.next(peer, Instant::now()) else {
            panic!("no retry")
        };
        assert!(matches!(state.next(peer, at), Next::Add(_)));
        state.withdraw("a");
        assert!(state.is_held("a"), "the Add is on its way");
    }

    #[test]
    fn one_of_two_accepting_is_enough_and_one_that_left_counts_no_more() {
        let mut state = State::default();
        state.offer(offer("a", 1, 7));
        let (old, new) = (state.join(true), state.join(false));
        assert_eq!(state.flavour(), Some(Flavour::Stock));
        drain(&mut state, old, &Ok(()));
        drain(&mut state, new, &Err("no".into()));
        assert_eq!(state.answer("a"), Answer::Accepted);
        state.leave(old);
        assert_eq!(state.answer("a"), Answer::Refused("no".into()));
        state.withdraw("a");
        assert!(state.is_held("a"));
        state.leave(new);
        assert!(!state.is_held("a"));
        assert_eq!(state.flavour(), None);
    }
}
