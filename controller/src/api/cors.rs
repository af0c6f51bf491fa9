//! The filter `CORS` of an HTTPRoute: which pages of other origins may read answers.

use serde::{Deserialize, Serialize};

/// What pages of other origins may do. Everything that is left out is not allowed, but for what needs no leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// `SCHEME://HOST[:PORT]`, where the host may begin with `*.` or be `*`; or `*` alone.
    pub allow_origins: Vec<String>,
    /// Whether cookies and the like may go along.
    pub allow_credentials: Option<bool>,
    /// Methods, or `*` alone.
    pub allow_methods: Vec<String>,
    /// Headers of requests, or `*` alone.
    pub allow_headers: Vec<String>,
    /// Headers of answers.
    pub expose_headers: Vec<String>,
    /// Seconds for which the answer to a preflight is kept. Left out: 5.
    pub max_age: Option<u32>,
}
