//! What a run does: which work, where, and with whom.

use crate::{
    stage::{Body, Place},
    subject::Subject,
    work::{
        Bulk, Connect, Crowd, Elephant, Http, Idle, Memory, Open, Quiet, Syscalls, Work, names,
    },
};
use culvert_lab::programs::{self, Program};
use std::{path::Path, time::Duration};

/// One measurement.
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) work: Box<dyn Work>,
    pub(crate) whom: Whom,
    /// A multiple of the run's seconds: percentiles far out need many requests.
    pub(crate) longer: f64,
}

/// With which subjects work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Direct, ours, the peer.
    All,
    /// Those too, and ours with one data core.
    OneCoreToo,
    /// Who has proxies.
    Proxies,
    /// Who has proxies, in the first round alone.
    ProxiesOnce,
}

impl Item {
    /// Whether this work is done with this subject in this round.
    pub(crate) fn is_for(&self, subject: &Subject, round: usize) -> bool {
        self.place.tells_apart(subject) && self.whom.has(subject, round)
    }
}

impl Place {
    /// WireGuard joins nodes: anywhere else the way is the direct one.
    fn tells_apart(self, subject: &Subject) -> bool {
        !matches!(subject, Subject::WireGuard) || self == Self::TwoNodes
    }
}

impl Whom {
    /// Whether a subject is meant.
    fn has(self, subject: &Subject, round: usize) -> bool {
        let bare = matches!(subject, Subject::Direct | Subject::WireGuard);
        match (self, subject) {
            (Self::OneCoreToo, _) => true,
            (_, Subject::OneCore) => false,
            (Self::All, _) => true,
            (Self::Proxies, _) => !bare,
            (Self::ProxiesOnce, _) => round == 1 && !bare,
        }
    }
}

/// Counts system calls; without it they are not counted.
const STRACE: Program = ("strace", "strace");
/// Pods of the crowd of the full form.
pub(crate) const CROWD: usize = 8;

/// All items, in the order in which they are done: silence, then memory while the proxies are fresh.
pub(crate) fn items(quick: bool, open_rate: f64, dir: &Path) -> Vec<Item> {
    if quick {
        return short(open_rate);
    }
    let (two, same, outside) = (Place::TwoNodes, Place::SameNode, Place::Outside);
    let mut items = vec![
        item(two, Quiet, Whom::All),
        item(two, Idle(vec![1000, 10_000]), Whom::Proxies),
        item(
            two,
            Memory {
                after: Duration::from_secs(60),
            },
            Whom::ProxiesOnce,
        ),
        item(two, Bulk(1), Whom::OneCoreToo),
        item(two, Bulk(4), Whom::All),
        item(two, Bulk(16), Whom::OneCoreToo),
        item(two, Bulk(64), Whom::All),
    ];
    for body in Body::ALL {
        for connections in [1, 16, 64, 1024] {
            items.push(item(two, Http { connections, body }, Whom::All));
        }
    }
    items.push(item(two, Connect, Whom::All));
    items.extend(open(open_rate, 2.5));
    items.push(item(two, Crowd, Whom::All));
    items.extend([
        item(same, Bulk(1), Whom::All),
        item(same, Bulk(16), Whom::All),
        item(same, http(1), Whom::All),
        item(same, http(64), Whom::All),
        item(same, Connect, Whom::All),
        item(outside, Bulk(1), Whom::All),
        item(outside, Bulk(16), Whom::All),
        item(outside, http(64), Whom::All),
    ]);
    for place in [Place::Distant, Place::Lossy] {
        items.extend([
            item(place, Bulk(1), Whom::All),
            item(place, Bulk(16), Whom::All),
            item(place, http(64), Whom::All),
            item(place, Connect, Whom::All),
            item(place, distant(), Whom::All),
        ]);
    }
    match programs::require(&[STRACE]) {
        Ok(()) => {
            let dir = dir.to_owned();
            items.push(item(two, Syscalls { dir }, Whom::ProxiesOnce));
        }
        Err(error) => eprintln!("system calls are not counted: {error}"),
    }
    items
}

fn short(open_rate: f64) -> Vec<Item> {
    let (two, same, outside) = (Place::TwoNodes, Place::SameNode, Place::Outside);
    let mut items = vec![
        item(two, Quiet, Whom::All),
        item(two, Idle(vec![2000]), Whom::Proxies),
        item(two, Bulk(1), Whom::All),
        item(two, Bulk(16), Whom::All),
        item(two, http(1), Whom::All),
        item(two, http(64), Whom::All),
        item(two, Connect, Whom::All),
    ];
    items.extend(open(open_rate, 1.0));
    items.extend([
        item(same, Bulk(1), Whom::All),
        item(outside, Bulk(1), Whom::All),
    ]);
    items
}

fn open(rate: f64, longer: f64) -> impl Iterator<Item = Item> {
    let half = Open {
        name: names::OPEN_HALF,
        connections: 64,
        rate,
    };
    [
        item(Place::TwoNodes, half, Whom::All),
        item(Place::TwoNodes, slow(), Whom::All),
        item(Place::TwoNodes, Elephant, Whom::All),
    ]
    .into_iter()
    .map(move |item| Item { longer, ..item })
}

fn slow() -> Open {
    Open {
        name: names::OPEN_SLOW,
        connections: 4,
        rate: 1000.0,
    }
}

/// As slow, over as many connections as the longer way asks for.
fn distant() -> Open {
    Open {
        name: names::OPEN_DISTANT,
        connections: 32,
        rate: 1000.0,
    }
}

fn http(connections: usize) -> Http {
    let body = Body::B64;
    Http { connections, body }
}

fn item(place: Place, work: impl Work + 'static, whom: Whom) -> Item {
    Item {
        place,
        work: Box::new(work),
        whom,
        longer: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_items_share_a_name_and_a_place() {
        for quick in [false, true] {
            let items = items(quick, 1.0, Path::new("/"));
            let mut names: Vec<_> = items
                .iter()
                .map(|item| (item.place, item.work.name()))
                .collect();
            names.sort();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
