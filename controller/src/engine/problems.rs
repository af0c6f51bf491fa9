//! Everything that is wrong, since when, and each told to the log once.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::target::Target;
use crate::model::Key;
use crate::source::{Effect, Origin, Rejection};
use crate::translate::Finding;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What and where.
    pub rejection: Rejection,
    /// Since when.
    pub since: Timestamp,
}

/// Everything that is wrong.
#[derive(Debug, Default)]
pub struct Problems {
    rejected: Vec<Rejection>,
    found: Vec<Rejection>,
    current: Vec<Problem>,
    stale: bool,
}

impl Problems {
    /// What the source has to say now; whether it is anything new.
    pub fn rejected(&mut self, rejections: Vec<Rejection>) -> bool {
        let news = self.rejected != rejections;
        self.stale |= news;
        self.rejected = rejections;
        news
    }

    /// What the translation has to say, or where objects are, has changed.
    pub(super) fn stale(&mut self) {
        self.stale = true;
    }

    /// Whether anything changed since the last time.
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// What the translation has to say now.
    pub(super) fn found(
        &mut self,
        findings: &BTreeMap<Target, Vec<Finding>>,
        origins: &BTreeMap<Key, Origin>,
    ) {
        self.found.clear();
        for finding in findings.values().flatten().filter(|finding| finding.error) {
            let origin = origins.get(&finding.object);
            let rejection = Rejection {
                file: origin.and_then(|origin| origin.file.clone()),
                line: origin.map_or(0, |origin| origin.line_of(&finding.field)),
                object: finding.object.to_string(),
                field: finding.field.to_string(),
                message: finding.message.clone(),
                effect: Effect::FailClosed,
            };
            // Each service of a namespace finds the same wrong label.
            if !self.found.contains(&rejection) {
                self.found.push(rejection);
            }
        }
    }

    /// Log what came and what went.
    pub fn log_news(&mut self) {
        let now = crate::clock::now();
        let before = std::mem::take(&mut self.current);
        let same = |a: &Rejection, b: &Rejection| {
            (&a.file, &a.object, &a.field, &a.message) == (&b.file, &b.object, &b.field, &b.message)
        };
        for rejection in self.rejected.iter().chain(&self.found) {
            let known = before
                .iter()
                .find(|problem| same(&problem.rejection, rejection));
            if known.is_none() {
                log(rejection);
            }
            let since = known.map_or(now, |problem| problem.since);
            self.current.push(Problem {
                rejection: rejection.clone(),
                since,
            });
        }
        for gone in before {
            if !self
                .current
                .iter()
                .any(|problem| same(&problem.rejection, &gone.rejection))
            {
                let Rejection {
                    object,
                    field,
                    message,
                    ..
                } = &gone.rejection;
                tracing::info!(object, field, message, "no longer wrong");
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.current.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }
}

fn log(rejection: &Rejection) {
    let Rejection {
        file,
        line,
        object,
        field,
        message,
        effect,
    } = rejection;
    let file = file
        .as_ref()
        .map(|file| file.display().to_string())
        .unwrap_or_default();
    tracing::error!(file, line, object, field, ?effect, "{message}");
}
