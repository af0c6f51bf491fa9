//! Where cores find the group of a service port, which they share.
//!
//! Invariant: as long as a core knows a group, every core finds the same one, whatever policies say meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use super::group::{Group, Resilience};
use crate::config::ServiceRef;

/// The groups that some core knows.
#[derive(Debug, Default)]
pub struct Registry {
    groups: Mutex<HashMap<ServiceRef, Weak<Group>>>,
}

impl Registry {
    /// The group of the endpoints of a service port.
    pub(super) fn group(&self, service: &ServiceRef) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = groups.get(service).and_then(Weak::upgrade) {
            return known;
        }
        groups.retain(|_, group| group.strong_count() > 0);
        let group = Arc::new(Group::new(service.clone()));
        groups.insert(service.clone(), Arc::downgrade(&group));
        group
    }

    /// Endpoints that are left out or have less than their share, for people. `of` is what policies say of a service.
    pub fn view(&self, of: impl Fn(&ServiceRef) -> Option<Arc<Resilience>>) -> Vec<Value> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let groups: Vec<_> = groups.values().filter_map(Weak::upgrade).collect();
        let mut all = Vec::new();
        for group in groups {
            let Some(resilience) = of(&group.service) else {
                continue;
            };
            let returning = resilience
                .outlier
                .as_ref()
                .map(|outlier| &outlier.returning);
            let now = group.now();
            for member in group.lock().members.values() {
                let share = member.share(now, resilience.warmup.as_ref(), returning);
                let left = member.ejected().saturating_sub(now);
                if left == 0 && share >= 1.0 {
                    continue;
                }
                let state = match left {
                    0 if member.is_returning() => "returning",
                    0 => "warming up",
                    _ => "ejected",
                };
                all.push(json!({
                    "service": group.service.service,
                    "port": group.service.port,
                    "endpoint": member.uid,
                    "address": member.address,
                    "state": state,
                    "share": if left > 0 { 0.0 } else { share },
                    "ejections": member.times(),
                    "milliseconds_left": left,
                }));
            }
        }
        all
    }
}
