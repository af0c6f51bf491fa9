//! Settings of the whole mesh, from its MeshConfig or by default.

use std::time::Duration;

use crate::api::{CaptureExclusions, MeshConfigSpec};

/// Settings in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    spec: MeshConfigSpec,
    /// Once identities are given out, it stays.
    trust_domain: Option<String>,
}

impl Settings {
    /// Take over a MeshConfig, or the defaults.
    pub fn take(&mut self, spec: Option<&MeshConfigSpec>) {
        self.spec = spec.cloned().unwrap_or_default();
    }

    /// From now on the trust domain is what it is.
    pub fn fix_trust_domain(&mut self) {
        self.trust_domain = Some(self.trust_domain().to_owned());
    }

    /// The configured trust domain, if it is not the one in force.
    #[must_use]
    pub fn other_trust_domain(&self) -> Option<&str> {
        let configured = self.spec.trust_domain.as_str();
        (configured != self.trust_domain()).then_some(configured)
    }

    /// First part of every identity.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.trust_domain
            .as_deref()
            .unwrap_or(&self.spec.trust_domain)
    }

    /// The name of this cluster.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.spec.cluster_id
    }

    /// Suffix of service names.
    #[must_use]
    pub fn cluster_domain(&self) -> &str {
        &self.spec.cluster_domain
    }

    /// Where policies hold for the mesh.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.spec.root_namespace
    }

    /// Ranges in which an unknown address is refused.
    #[must_use]
    pub fn cluster_cidrs(&self) -> Vec<String> {
        self.spec
            .cluster_cidrs
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Longest lifetime of a workload's certificate.
    #[must_use]
    pub fn certificate_ttl(&self) -> Duration {
        self.spec.certificate_ttl.get()
    }

    /// Whether pods may keep traffic out of the mesh.
    #[must_use]
    pub fn exclusions_allowed(&self) -> bool {
        self.spec.capture_exclusions == CaptureExclusions::Allowed
    }

    /// UDP is refused where plaintext is.
    #[must_use]
    pub fn refuse_udp_when_strict(&self) -> bool {
        self.spec.refuse_udp_when_strict
    }
}
