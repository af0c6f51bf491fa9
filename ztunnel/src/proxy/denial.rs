//! A refusal: its one reason, and what the log says besides.

use std::fmt;
use std::sync::Arc;

use culvert_policy::DenyReason;

/// Why a connection was refused, or ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// What metrics, logs and the peer are told.
    pub(crate) reason: DenyReason,
    /// The policy that decided, `NAMESPACE/NAME`.
    pub(crate) policy: Option<Arc<str>>,
    /// What went wrong in particular, for the log alone.
    pub(crate) detail: Option<Arc<str>>,
}

impl Denial {
    /// A refusal with something to add for the log.
    pub(crate) fn because(reason: DenyReason, detail: impl fmt::Display) -> Self {
        Self {
            detail: Some(detail.to_string().into()),
            ..Self::from(reason)
        }
    }
}

impl From<DenyReason> for Denial {
    fn from(reason: DenyReason) -> Self {
        Self {
            reason,
            policy: None,
            detail: None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => f.write_str(self.reason.explanation()),
        }
    }
}

impl std::error::Error for Denial {}
