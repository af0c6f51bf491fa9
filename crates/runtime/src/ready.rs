//! What must happen before a process may say that it is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::Response;

/// The pending tasks of a process.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<String, usize>>>);

/// One pending task; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task is done as soon as this is dropped"]
pub struct ReadyTask {
    ready: Ready,
    name: String,
}

impl Ready {
    /// Nothing pending.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a task that readiness waits for.
    pub fn task(&self, name: impl Into<String>) -> ReadyTask {
        let name = name.into();
        *self.lock().entry(name.clone()).or_default() += 1;
        ReadyTask {
            ready: self.clone(),
            name,
        }
    }

    /// Names of the tasks that are not done, sorted. Empty means ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Answer of `/healthz/ready`: 200, or 500 with what is pending.
    #[must_use]
    pub fn response(&self) -> Response {
        let pending = self.pending();
        if pending.is_empty() {
            return Response::text("ready\n");
        }
        let body = format!("not ready, pending: {}\n", pending.join(", "));
        Response::error(http::StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadyTask {
    /// The task is done.
    pub fn done(self) {}
}

impl Drop for ReadyTask {
    fn drop(&mut self) {
        let mut tasks = self.ready.lock();
        if let Some(count) = tasks.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                tasks.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_the_last_task_of_each_name_ended() {
        let ready = Ready::new();
        let (xds, pod1, pod2) = (ready.task("xds"), ready.task("pods"), ready.task("pods"));
        assert_eq!(ready.pending(), ["pods", "xds"]);
        xds.done();
        drop(pod1);
        assert_eq!(ready.pending(), ["pods"]);
        assert_eq!(ready.response().status(), 500);
        assert_eq!(ready.response().body(), b"not ready, pending: pods\n");
        drop(pod2);
        assert_eq!(ready.response().status(), 200);
    }
}
