//! What a run's rounds amount to: for each kind of work and figure, the spread of every subject and the ratio of ours to
//! the peer's.

use crate::{
    results::Run,
    stage::Place,
    stats::{self, Estimate, Spread},
    subject::{CULVERT, DIRECT, ENVOY, ONE_CORE, STOCK, WIREGUARD},
};
use std::collections::{BTreeMap, BTreeSet};

/// Subjects in the order in which tables show them.
pub(crate) const SUBJECTS: [&str; 6] = [DIRECT, CULVERT, STOCK, ENVOY, ONE_CORE, WIREGUARD];

/// One figure of one kind of work.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) work: String,
    pub(crate) figure: String,
    pub(crate) subjects: BTreeMap<&'static str, Spread>,
    /// Ours as a part of the peer's.
    pub(crate) ratio: Option<Estimate>,
}

/// All rows, in the order in which the work was done.
pub(crate) fn rows(run: &Run) -> Vec<Row> {
    let mut kinds: Vec<(Place, &str)> = Vec::new();
    for sample in &run.samples {
        if !kinds.contains(&(sample.place, &sample.work)) {
            kinds.push((sample.place, &sample.work));
        }
    }
    let mut rows = Vec::new();
    for (place, work) in kinds {
        let of_kind =
            |sample: &&crate::results::Sample| sample.place == place && sample.work == work;
        let figures: BTreeSet<&str> = run
            .samples
            .iter()
            .filter(of_kind)
            .flat_map(|sample| sample.figures.keys().map(String::as_str))
            .collect();
        rows.extend(
            figures
                .into_iter()
                .map(|figure| row(run, place, work, figure)),
        );
    }
    rows
}

fn row(run: &Run, place: Place, work: &str, figure: &str) -> Row {
    let values = |subject| run.values(place, work, subject, figure);
    let subjects = SUBJECTS
        .into_iter()
        .filter_map(|subject| Some((subject, Spread::of(&values(subject))?)))
        .collect();
    let (ours, mut theirs) = (values(CULVERT), values(STOCK));
    if theirs.is_empty() {
        theirs = values(ENVOY);
    }
    let ratio = stats::bootstrap(ours.len().min(theirs.len()), |rounds| {
        stats::median(&stats::drawn(&ours, rounds)) / stats::median(&stats::drawn(&theirs, rounds))
    });
    Row {
        place,
        work: work.to_owned(),
        figure: figure.to_owned(),
        subjects,
        ratio,
    }
}
