//! `ReferenceGrant` of the Gateway API: what may be referred to from other namespaces.

use serde::{Deserialize, Serialize};

/// Its `spec`: each of `from` may refer to each of `to` in the grant's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// Who refers.
    pub from: Vec<GrantFrom>,
    /// To what.
    pub to: Vec<GrantTo>,
}

/// Who refers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantFrom {
    /// Of the kind; empty for the core.
    pub group: String,
    /// `HTTPRoute`, `Gateway`, ...
    pub kind: String,
    /// Where it is.
    pub namespace: String,
}

/// To what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantTo {
    /// Of the kind; empty for the core.
    pub group: String,
    /// `Service`, `Secret`, ...
    pub kind: String,
    /// Left out: all of the kind.
    pub name: Option<String>,
}

impl ReferenceGrantSpec {
    /// Whether an object of a kind and group of the Gateway API in `namespace` may refer to one of the core's, or to a
    /// ServiceEntry.
    #[must_use]
    pub fn permits(&self, kind: &str, namespace: &str, to_kind: &str, to_name: &str) -> bool {
        let from = self.from.iter().any(|from| {
            from.group == "gateway.networking.k8s.io"
                && from.kind == kind
                && from.namespace == namespace
        });
        let group = match to_kind {
            "ServiceEntry" => "culvert.dev",
            _ => "",
        };
        let to = self.to.iter().any(|to| {
            let named = to.name.as_deref().filter(|name| !name.is_empty());
            to.group == group && to.kind == to_kind && named.is_none_or(|name| name == to_name)
        });
        from && to
    }
}
