//! What a Gateway asks of clients where TLS ends there: certificates of their own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::CertificateRef;

/// What is asked at each port.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Frontend {
    /// At every port that is not below. None: nothing.
    pub default: Option<Validation>,
    /// At these ports, in place of it.
    pub ports: BTreeMap<u16, Option<Validation>>,
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// ConfigMaps with certificates of authorities, of the Gateway's namespace where they name none.
    pub authorities: Vec<CertificateRef>,
    /// Clients without a good one are served all the same.
    pub fallback: bool,
}

impl Frontend {
    /// What is asked at a port.
    #[must_use]
    pub fn at(&self, port: u16) -> Option<&Validation> {
        match self.ports.get(&port) {
            Some(own) => own.as_ref(),
            None => self.default.as_ref(),
        }
    }

    /// All that is asked anywhere.
    pub fn all(&self) -> impl Iterator<Item = &Validation> {
        let own = self.ports.values().flatten();
        self.default.iter().chain(own)
    }
}
