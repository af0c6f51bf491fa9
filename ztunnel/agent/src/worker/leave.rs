//! Leaving: the redirection goes first, so that new connections do not meet a ztunnel that leaves;
//! then ztunnel is told; when the connections that it carries have ended, the rest goes, which brought
//! answers to ztunnel until then.

use std::sync::Arc;

use super::{Next, Worker};
use crate::capture::plan::Step;
use crate::capture::{CaptureError, Site};
use crate::metrics;
use crate::status::Capture;
use crate::store::Record;

/// What of a pod's capture is still there.
enum Left {
    Nothing,
    /// A ztunnel still has the pod.
    Served,
    /// So many connections go on.
    Connections(usize),
}

impl Worker {
    /// One step towards a pod without capture; `done` when there is none.
    pub(super) async fn leave(&mut self, done: Next) -> Next {
        match self.try_leave().await {
            Ok(Left::Nothing) => done,
            Ok(Left::Served) => Next::Ztunnels,
            Ok(Left::Connections(count)) => {
                let message = format!(
                    "{count} connections through ztunnel are still open; the rules that keep them there stay"
                );
                self.tell(Capture::Released, message);
                Next::Audit
            }
            Err(error) => {
                metrics::failure("release");
                self.tell(Capture::Failed, format!("cannot be released: {error}"));
                Next::Audit
            }
        }
    }

    /// Let go of a deleted pod. Its namespace is being taken away, and the rules in it go with it: as long as a process
    /// lingers there, what it sends is refused.
    pub(super) async fn abandon(&mut self) -> Next {
        self.guard = None;
        self.cx.ztunnels.withdraw(&self.uid);
        if !self.cx.ztunnels.is_withdrawn(&self.uid) {
            return Next::Ztunnels;
        }
        match self.forget().await {
            Ok(()) => Next::End,
            Err(error) => {
                metrics::failure("release");
                self.tell(Capture::Failed, format!("cannot be forgotten: {error}"));
                Next::Audit
            }
        }
    }

    async fn try_leave(&mut self) -> Result<Left, CaptureError> {
        let site = match self.record.clone() {
            Some(record) => self.find(record).await?,
            None => None,
        };
        self.in_force = false;
        self.verified = None;
        self.guard = None;
        self.remove(site.as_ref(), Step::Redirection).await?;
        self.cx.ztunnels.withdraw(&self.uid);
        if !self.cx.ztunnels.is_withdrawn(&self.uid) {
            return Ok(Left::Served);
        }
        if let Some(site) = site.clone() {
            let carried = self.blocking(move |cx| {
                if cx.is_leaving_now() {
                    let ended = site.end_carried()?;
                    tracing::warn!(ended, "connections through ztunnel were ended");
                }
                site.carried(&cx.tools)
            });
            let carried = carried.await?;
            if carried > 0 {
                return Ok(Left::Connections(carried));
            }
        }
        self.remove(site.as_ref(), Step::Rest).await?;
        if self.record.is_some() {
            self.forget().await?;
            self.tell(Capture::Released, String::new());
        } else {
            // It never came to rules.
            self.cx.claims.release(&self.uid);
            if self.cx.statuses.capture(&self.uid) != Some(Capture::Released) {
                self.cx.statuses.remove(&self.uid);
            }
        }
        Ok(Left::Nothing)
    }

    /// The namespace that holds the rules, if it still exists.
    async fn find(&self, record: Record) -> Result<Option<Arc<Site>>, CaptureError> {
        let found = self.blocking(move |_| match Site::open(&record.pod.netns) {
            Ok(site) => Ok(record.is_in(site.id()).then(|| Arc::new(site))),
            Err(CaptureError::Vanished(_)) => Ok(None),
            Err(error) => Err(error),
        });
        found.await
    }

    async fn remove(&self, site: Option<&Arc<Site>>, step: Step) -> Result<(), CaptureError> {
        let Some(site) = site.cloned() else {
            return Ok(());
        };
        self.blocking(move |cx| site.remove(&cx.tools, step)).await
    }
}
