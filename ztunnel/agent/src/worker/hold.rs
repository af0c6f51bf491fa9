//! Joining, and staying captured.

use std::sync::Arc;

use culvert_runtime::netns::NetnsId;
use culvert_zds::Workload;

use super::guard::Guard;
use super::{Held, Next, Worker};
use crate::capture::rules::{Flavour, Mark, Spec};
use crate::capture::{CaptureError, Ensured, Site};
use crate::metrics;
use crate::netlink::changes::Changes;
use crate::pod::Pod;
use crate::status::Capture;
use crate::store::Record;
use crate::ztunnels::{Answer, Offer};

impl Worker {
    /// One step towards, or one audit of, a captured pod.
    pub(super) async fn hold(&mut self, pod: &Pod) -> Next {
        match self.try_hold(pod).await {
            Ok(message) => {
                self.tell(Capture::Captured, message);
                Next::Audit
            }
            Err(Held::Pending(message)) => {
                self.tell(Capture::Pending, message);
                Next::Ztunnels
            }
            Err(Held::Failed(error)) => {
                metrics::failure("capture");
                self.tell(Capture::Failed, error.to_string());
                Next::Audit
            }
        }
    }

    async fn try_hold(&mut self, pod: &Pod) -> Result<String, Held> {
        let site = self.site(pod).await?;
        let stale = |record: &Record| !record.is_in(site.id());
        if self.record.as_ref().is_some_and(stale) {
            // The old namespace went and its rules with it.
            self.forget().await?;
        }
        self.claim(pod, site.id())?;
        let mixed = self.is_mixed(&site).await?;
        let wanted = self.wanted(pod, mixed);
        self.cx.ztunnels.offer(offer(pod, site.id(), wanted.mark));

        let answer = self.cx.ztunnels.answer(&self.uid);
        let same_mark = |record: &Record| record.spec.mark == wanted.mark;
        let marked = self.in_force && self.record.as_ref().is_some_and(same_mark);
        let joins = matches!(answer, Answer::Accepted) || self.record.is_some();
        let unprobed = if joins {
            self.let_probes(pod).await
        } else {
            None
        };
        if joins {
            self.guard(&site).await;
        }
        let new = !self.in_force;
        let message = match (&self.record, answer) {
            // Sockets come before rules, and sockets of a new mark before rules for it.
            (_, Answer::Accepted) => {
                self.join(pod, &site, wanted).await?;
                String::new()
            }
            (Some(_), answer) if marked => {
                self.join(pod, &site, wanted).await?;
                captured_without(&answer)
            }
            (Some(record), answer) if self.in_force => {
                let spec = record.spec.clone();
                self.ensure(&site, spec, false).await?;
                captured_without(&answer)
            }
            (_, answer) => return Err(Held::Pending(waiting_for(answer))),
        };
        let plain = self.end_plaintext(pod, &site, new).await;
        self.recount(&site).await?;
        Ok(plain.or(unprobed).unwrap_or(message))
    }

    /// Be told of changes, from before the rules are read. Where that fails the audits have to do.
    async fn guard(&mut self, site: &Arc<Site>) {
        if self.guard.as_ref().is_some_and(|guard| guard.is_of(site)) {
            return;
        }
        self.guard = None;
        let opened = Arc::clone(site);
        let opened = self.blocking(move |_| opened.changes()).await;
        let waited = opened.map(Changes::new).map(|changes| {
            changes.map_err(|source| CaptureError::Kernel {
                what: "waiting for changes of rules",
                source,
            })
        });
        match waited.flatten() {
            Ok(changes) => self.guard = Some(Guard::new(site.id(), changes)),
            Err(error) => {
                metrics::failure("watch");
                tracing::warn!(pod = self.uid, %error, "changes of rules are found by audits only");
            }
        }
    }

    /// The pod's namespace, checked; without one there is nothing to hold.
    async fn site(&mut self, pod: &Pod) -> Result<Arc<Site>, Held> {
        let missing = match (pod.netns.is_unknown(), pod.addresses.is_empty()) {
            (true, _) => Some("the pod has no network namespace yet"),
            (_, true) => Some("the pod has no address yet"),
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(Held::Pending(missing.to_owned()));
        }
        let looked = pod.clone();
        match self.blocking(move |cx| Site::of(&looked, &cx.tools)).await {
            Ok(site) => Ok(Arc::new(site)),
            Err(vanished @ CaptureError::Vanished(_)) => {
                self.cx.ztunnels.withdraw(&self.uid);
                self.forget().await?;
                Err(Held::Pending(vanished.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn claim(&self, pod: &Pod, id: NetnsId) -> Result<(), CaptureError> {
        let claimed = self.cx.claims.claim(id, &self.uid);
        claimed.map_err(|owner| CaptureError::Shared {
            path: pod.netns.name(),
            owner,
        })
    }

    /// Whether sockets of a ztunnel of the other kind may still be in the pod.
    async fn is_mixed(&self, site: &Arc<Site>) -> Result<bool, CaptureError> {
        let former = self.record.as_ref().and_then(|record| record.spec.former);
        if former.is_none() {
            return Ok(false);
        }
        let site = Arc::clone(site);
        Ok(self.blocking(move |cx| site.carried(&cx.tools)).await? > 0)
    }

    /// The rules that the pod is to have: those it has, as far as nothing speaks against them.
    fn wanted(&self, pod: &Pod, mixed: bool) -> Spec {
        let recorded = self.record.as_ref().map(|record| &record.spec);
        let connected = self.cx.ztunnels.flavour();
        let flavour = connected.or(recorded.map(|spec| spec.flavour));
        let flavour = flavour.unwrap_or(Flavour::Culvert);
        let mark = match flavour {
            Flavour::Culvert => self.mark,
            Flavour::Stock => Mark::STOCK,
        };
        // Connections of a ztunnel of the other kind may be open after it is gone from here.
        let other = |spec: &&Spec| spec.mark != mark;
        let former = recorded.map(|spec| match Some(spec).filter(other) {
            Some(before) => Some(before.mark),
            None => spec.former.filter(|_| mixed),
        });
        let mut spec = Spec {
            mark,
            former: former.flatten(),
            flavour,
            options: pod.options.clone(),
            generation: recorded.map_or(1, |spec| spec.generation),
        };
        if recorded.is_some_and(|recorded| *recorded != spec) {
            spec.generation += 1;
        }
        spec
    }

    /// Record the rules, then put them in force.
    async fn join(&mut self, pod: &Pod, site: &Arc<Site>, spec: Spec) -> Result<(), CaptureError> {
        let new = self
            .record
            .as_ref()
            .is_none_or(|record| record.spec != spec);
        let first = self.record.is_none();
        let before = match &self.record {
            Some(record) => record.before.clone(),
            None => {
                let site = Arc::clone(site);
                self.blocking(move |_| site.connections()).await?
            }
        };
        let id = site.id();
        let mut pod = pod.clone();
        // What was said before an agent's restart holds until something else is.
        let known = self.record.as_ref().and_then(|r| r.pod.strict.clone());
        pod.strict = pod.strict.or(known);
        self.remember(Record {
            pod,
            netns: (id.dev, id.inode),
            spec: spec.clone(),
            before,
        })
        .await?;
        if first {
            self.exempt(site).await;
        }
        self.ensure(site, spec, new || !self.in_force).await?;
        self.in_force = true;
        Ok(())
    }

    /// The node's own probes come in a way that the pod's rules know, before these are in force. Where that
    /// fails STRICT refuses them, which is no reason not to capture the pod.
    async fn let_probes(&self, pod: &Pod) -> Option<String> {
        let pod = pod.clone();
        let set = self.blocking(move |cx| Ok(cx.probes.set(&pod)?)).await;
        let error = set.err()?;
        metrics::failure("probes");
        Some(format!("the kubelet's probes are not let past: {error}"))
    }

    /// Let connections from before go on. Where that fails they are reset instead, which is no reason
    /// not to capture the pod.
    async fn exempt(&self, site: &Arc<Site>) {
        let before = self.record.as_ref().map(|record| record.before.clone());
        let (site, before) = (Arc::clone(site), before.unwrap_or_default());
        if let Err(error) = self.blocking(move |_| site.exempt(&before)).await {
            tracing::warn!(pod = self.uid, %error, "connections from before will be reset");
        }
    }

    /// Put the rules in force and read them back. Unless they are `new`, a difference is a repair.
    async fn ensure(
        &mut self,
        site: &Arc<Site>,
        spec: Spec,
        new: bool,
    ) -> Result<(), CaptureError> {
        let (site, verified) = (Arc::clone(site), self.verified.filter(|_| !new));
        let ensured = self.blocking(move |cx| site.ensure(&cx.tools, &spec, verified));
        let Ensured { drift, ruleset } = ensured.await.inspect_err(|_| self.verified = None)?;
        self.verified = ruleset;
        if !drift.is_empty() {
            self.ended.again();
        }
        if !new && !drift.is_empty() {
            self.repairs += 1;
            metrics::repair();
            let drift = drift.join(", ");
            tracing::warn!(
                pod = self.uid,
                drift,
                "capture was changed and has been repaired"
            );
        }
        Ok(())
    }

    /// Forget connections from before that have ended since.
    async fn recount(&mut self, site: &Arc<Site>) -> Result<(), CaptureError> {
        let Some(mut record) = self.record.clone().filter(|r| !r.before.is_empty()) else {
            return Ok(());
        };
        let site = Arc::clone(site);
        let open = self.blocking(move |_| site.connections()).await?;
        record.before.retain(|connection| open.contains(connection));
        self.remember(record).await
    }
}

impl From<CaptureError> for Held {
    fn from(error: CaptureError) -> Self {
        Self::Failed(error)
    }
}

/// The pod as a ztunnel is told of it.
pub(crate) fn offer(pod: &Pod, id: NetnsId, mark: Mark) -> Offer {
    Offer {
        workload: Workload {
            uid: pod.uid.clone(),
            info: Some(pod.info()),
            mark: mark.value,
            addresses: pod.addresses.clone(),
        },
        netns: pod.netns.clone(),
        id,
    }
}

fn waiting_for(answer: Answer) -> String {
    match answer {
        Answer::NoZtunnel => "waiting for a ztunnel".to_owned(),
        Answer::Refused(error) => format!("waiting for a ztunnel: {error}"),
        Answer::Waiting | Answer::Accepted => "waiting for the ztunnel's answer".to_owned(),
    }
}

/// What to say of a captured pod that no ztunnel serves.
fn captured_without(answer: &Answer) -> String {
    match answer {
        Answer::NoZtunnel => "no ztunnel is connected: traffic is refused".to_owned(),
        Answer::Refused(error) => format!("no ztunnel serves the pod: {error}"),
        Answer::Waiting | Answer::Accepted => String::new(),
    }
}
