//! `BackendTLSPolicy` of the Gateway API: TLS to the backends of a service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Its `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// Services of its own namespace, or ports of them.
    pub target_refs: Vec<PolicyTarget>,
    /// Whom to expect.
    pub validation: BackendTlsValidation,
    /// Settings of implementations. There are none of ours.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// What a policy is for, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// Empty for a Service.
    #[serde(default)]
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The name of a Service's port; left out: all of them.
    #[serde(default)]
    pub section_name: Option<String>,
}

/// Whom to expect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsValidation {
    /// Certificates of the authorities that are trusted.
    pub ca_certificate_refs: Vec<LocalRef>,
    /// `System`: those that everybody trusts.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    /// Who is asked for, and whom the certificate has to be for unless it says more.
    pub hostname: String,
    /// The certificate has to have one of these.
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A reference to an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRef {
    /// Empty for the core.
    #[serde(default)]
    pub group: String,
    /// `ConfigMap`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A name that a certificate can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// Which of the others is there.
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    /// Of `Hostname`.
    #[serde(default)]
    pub hostname: String,
    /// Of `URI`.
    #[serde(default)]
    pub uri: String,
}

/// Kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectAltNameType {
    /// Of DNS.
    Hostname,
    /// With its scheme.
    #[serde(rename = "URI")]
    Uri,
}

impl PolicyTarget {
    /// The name of a port, if it is for one alone.
    #[must_use]
    pub fn section(&self) -> Option<&str> {
        self.section_name.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether it is the same as another one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&*self.group, &*self.kind, &*self.name, self.section())
            == (&*other.group, &*other.kind, &*other.name, other.section())
    }
}
