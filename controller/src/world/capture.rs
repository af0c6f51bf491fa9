//! Which pods' traffic is in the mesh's hands, as their agents said.
//!
//! Invariants: peers of an enrolled pod use HBONE from the moment that it is proven captured, and go back to plaintext only
//! when it is no longer enrolled or is another pod: not when the agent restarts, is away, or has trouble. A pod that was
//! captured and is not reachable by HBONE is then not reachable, rather than reached in plaintext. On Kubernetes an agent's
//! word proves nothing until it is written at the pod, since it would die with the replica that heard it.

use std::collections::BTreeMap;

use culvert_proto::node::PodState;

use crate::model::{NsName, Obj, Pod};

/// What an agent says of a captured pod.
const CAPTURED: &str = "captured";

/// All pods that an agent spoke of, or that are remembered.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    pods: BTreeMap<NsName, PodCapture>,
    proof: Proof,
}

/// What lets peers of a pod use HBONE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// The word of its agent; what follows from it is written down before it is served.
    #[default]
    Report,
    /// The condition at the pod, which all replicas see alike, now and after a restart.
    Condition,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodCapture {
    /// Which pod of this name it was.
    instance: String,
    /// Peers use HBONE.
    hbone: bool,
    /// The agent's last words.
    pub said: PodState,
}

impl Capture {
    /// Nothing is known yet; what will be counts by this.
    #[must_use]
    pub fn by(proof: Proof) -> Self {
        Self {
            pods: BTreeMap::new(),
            proof,
        }
    }

    /// What is known of a pod.
    #[must_use]
    pub fn get(&self, pod: &NsName) -> Option<&PodCapture> {
        self.pods.get(pod)
    }

    /// Whether peers of a pod use HBONE.
    #[must_use]
    pub fn is_hbone(&self, pod: &NsName) -> bool {
        self.pods.get(pod).is_some_and(|capture| capture.hbone)
    }

    /// Take an agent's word on a pod of its node; whether it is a new one.
    pub fn said(&mut self, pod: &NsName, state: PodState) -> bool {
        let known = self.pods.entry(pod.clone()).or_default();
        let news = known.said != state;
        known.said = state;
        news
    }

    /// Bring a pod up to date with its object and whether it is enrolled.
    pub fn settle(&mut self, pod: &Obj<Pod>, enrolled: bool) {
        let name = &pod.meta.name;
        let instance = instance(pod);
        if !enrolled && !self.pods.contains_key(name) {
            return;
        }
        let known = self.pods.entry(name.clone()).or_default();
        if known.instance.is_empty() {
            known.instance = instance;
        } else if known.instance != instance {
            *known = PodCapture {
                instance,
                ..PodCapture::default()
            };
        }
        let said = self.proof == Proof::Report && known.said.capture == CAPTURED;
        known.hbone = enrolled && (known.hbone || said || pod.spec.captured);
    }

    /// The pod is gone.
    pub fn forget(&mut self, pod: &NsName) {
        self.pods.remove(pod);
    }

    /// For the next start: pods whose peers use HBONE, and which pod each is.
    #[must_use]
    pub fn remember(&self) -> BTreeMap<String, String> {
        let hbone = self.pods.iter().filter(|(_, capture)| capture.hbone);
        hbone
            .map(|(name, capture)| (name.to_string(), capture.instance.clone()))
            .collect()
    }

    /// What [`remember`](Self::remember) gave before this start.
    #[must_use]
    pub fn recall(remembered: &BTreeMap<String, String>) -> Self {
        let entry = |(name, instance): (&String, &String)| {
            let capture = PodCapture {
                instance: instance.clone(),
                hbone: true,
                said: PodState::default(),
            };
            NsName::parse(name).map(|name| (name, capture))
        };
        Self {
            pods: remembered.iter().filter_map(entry).collect(),
            proof: Proof::Report,
        }
    }
}

/// Tells a pod from another one that takes its name later.
fn instance(pod: &Obj<Pod>) -> String {
    let Pod { node, netns, .. } = &pod.spec;
    format!("{} {node} {netns}", pod.meta.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn state(capture: &str) -> PodState {
        PodState {
            capture: capture.into(),
            ..PodState::default()
        }
    }

    #[test]
    fn hbone_begins_with_capture_and_ends_with_enrolment_only() {
        let mut capture = Capture::default();
        let pod = testing::pod("demo", "web", "/run/netns/1");
        let name = pod.meta.name.clone();
        capture.settle(&pod, true);
        assert!(!capture.is_hbone(&name));
        for (said, hbone) in [
            ("pending", false),
            ("captured", true),
            ("pending", true),
            ("failed", true),
            ("released", true),
        ] {
            capture.said(&name, state(said));
            capture.settle(&pod, true);
            assert_eq!(capture.is_hbone(&name), hbone, "{said}");
        }
        capture.settle(&pod, false);
        assert!(!capture.is_hbone(&name));
        // Enrolled again: not before it is captured again.
        capture.settle(&pod, true);
        assert!(!capture.is_hbone(&name));
        capture.said(&name, state("captured"));
        capture.settle(&pod, true);
        assert!(capture.is_hbone(&name));
    }

    #[test]
    fn another_replica_was_told() {
        let mut capture = Capture::default();
        let mut pod = (*testing::pod("demo", "web", "")).clone();
        pod.spec.captured = true;
        capture.settle(&pod, false);
        assert!(!capture.is_hbone(&pod.meta.name));
        capture.settle(&pod, true);
        assert!(capture.is_hbone(&pod.meta.name));
        // What it wrote is gone again, by whosever mistake: as long as the pod is enrolled, nothing changes.
        pod.spec.captured = false;
        capture.settle(&pod, true);
        assert!(capture.is_hbone(&pod.meta.name));
        pod.meta.uid = "another".into();
        capture.settle(&pod, true);
        assert!(!capture.is_hbone(&pod.meta.name));
    }

    #[test]
    fn a_word_that_is_not_written_down_proves_nothing_where_a_condition_is_asked_for() {
        let mut capture = Capture::by(Proof::Condition);
        let mut pod = (*testing::pod("demo", "web", "")).clone();
        capture.settle(&pod, true);
        capture.said(&pod.meta.name, state("captured"));
        capture.settle(&pod, true);
        assert!(!capture.is_hbone(&pod.meta.name));
        pod.spec.captured = true;
        capture.settle(&pod, true);
        assert!(capture.is_hbone(&pod.meta.name));
    }

    #[test]
    fn another_pod_of_the_name_begins_anew() {
        let mut capture = Capture::default();
        let pod = testing::pod("demo", "web", "/run/netns/1");
        capture.settle(&pod, true);
        capture.said(&pod.meta.name, state("captured"));
        capture.settle(&pod, true);
        let other = testing::pod("demo", "web", "/run/netns/2");
        capture.settle(&other, true);
        assert!(!capture.is_hbone(&other.meta.name));
    }

    #[test]
    fn is_remembered_over_a_restart() {
        let mut capture = Capture::default();
        let pod = testing::pod("demo", "web", "/run/netns/1");
        capture.settle(&pod, true);
        capture.said(&pod.meta.name, state("captured"));
        capture.settle(&pod, true);
        let mut recalled = Capture::recall(&capture.remember());
        recalled.settle(&pod, true);
        assert!(recalled.is_hbone(&pod.meta.name));
        recalled.settle(&testing::pod("demo", "web", "/run/netns/9"), true);
        assert!(!recalled.is_hbone(&pod.meta.name));
    }
}
