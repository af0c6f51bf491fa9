//! `HTTPRoute` of the Gateway API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cors, Duration, Port, SessionPersistence, Unused};

/// Its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// What it is attached to.
    pub parent_refs: Vec<ParentRef>,
    /// Empty: every host.
    pub hostnames: Vec<String>,
    /// The most specific match counts.
    pub rules: Vec<RouteRule>,
    /// Not read.
    pub use_default_gateways: Unused,
}

/// What a route is attached to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Empty for a Service. Left out it is the Gateway API's.
    pub group: Option<String>,
    /// `Service`. Left out it is a Gateway.
    pub kind: Option<String>,
    /// Left out it is the route's.
    pub namespace: Option<String>,
    /// Of the parent.
    pub name: String,
    /// Of a Gateway's listener.
    pub section_name: Option<String>,
    /// Left out: every port.
    pub port: Option<Port>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// For policies to name it.
    pub name: Option<String>,
    /// Any must match; empty: every request.
    pub matches: Vec<RouteMatch>,
    /// What is changed.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backend_refs: Vec<BackendRef>,
    /// How long they may take.
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    pub retry: Option<RouteRetry>,
    /// Where its sessions are.
    pub session_persistence: Option<SessionPersistence>,
}

/// Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// Of the path.
    pub path: Option<PathMatch>,
    /// All must match.
    pub headers: Vec<ValueMatch>,
    /// All must match.
    pub query_params: Vec<ValueMatch>,
    /// GET, POST, ...
    pub method: Option<String>,
}

/// A match of the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathMatch {
    /// How.
    #[serde(rename = "type", default)]
    pub kind: PathMatchType,
    /// With what.
    #[serde(default = "slash")]
    pub value: String,
}

fn slash() -> String {
    "/".into()
}

/// How a path is matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// Whole.
    Exact,
    /// By its first elements.
    #[default]
    PathPrefix,
    /// By a regular expression.
    RegularExpression,
}

/// A match of a header or query parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValueMatch {
    /// How.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Of which.
    pub name: String,
    /// With what.
    pub value: String,
}

/// How a value is matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// Whole.
    #[default]
    Exact,
    /// By a regular expression.
    RegularExpression,
}

/// A change to requests or responses: the member that `type` names must be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Which of the others is set.
    #[serde(rename = "type")]
    pub kind: FilterType,
    /// Of requests.
    pub request_header_modifier: Option<HeaderModifier>,
    /// Of responses.
    pub response_header_modifier: Option<HeaderModifier>,
    /// Answer with another place.
    pub request_redirect: Option<Redirect>,
    /// Ask for something else.
    pub url_rewrite: Option<Rewrite>,
    /// Send a copy elsewhere.
    pub request_mirror: Option<Mirror>,
    /// What pages of other origins may do with answers.
    pub cors: Option<Cors>,
    /// Not done yet.
    pub external_auth: Option<Unused>,
    /// Of another implementation.
    pub extension_ref: Option<Unused>,
}

/// Which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the Gateway API's own")]
pub enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    RequestMirror,
    #[serde(rename = "CORS")]
    Cors,
    ExternalAuth,
    ExtensionRef,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Instead of what is there.
    pub set: Vec<HeaderValue>,
    /// Besides what is there.
    pub add: Vec<HeaderValue>,
    /// Names.
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderValue {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    /// Which of the others is set.
    #[serde(rename = "type")]
    pub kind: PathModifierType,
    /// Instead of the whole.
    pub replace_full_path: Option<String>,
    /// Instead of the prefix that matched.
    pub replace_prefix_match: Option<String>,
}

/// What of a path is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathModifierType {
    /// All of it.
    ReplaceFullPath,
    /// The prefix that matched.
    ReplacePrefixMatch,
}

/// Answer with another place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Instead of the request's.
    pub hostname: Option<String>,
    /// Instead of the request's.
    pub path: Option<PathModifier>,
    /// Instead of the scheme's.
    pub port: Option<Port>,
    /// 301, 302, 303, 307 or 308.
    pub status_code: Option<u16>,
}

/// Ask for something else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// Instead of the request's.
    pub hostname: Option<String>,
    /// Instead of the request's.
    pub path: Option<PathModifier>,
}

/// Send a copy elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Where to.
    pub backend_ref: BackendRef,
    /// Of the requests.
    pub percent: Option<u32>,
    /// Of the requests.
    pub fraction: Option<Fraction>,
}

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction {
    /// Of them.
    pub numerator: u32,
    /// 100 if left out.
    pub denominator: Option<u32>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendRef {
    /// Empty for a Service.
    pub group: Option<String>,
    /// `Service`.
    pub kind: Option<String>,
    /// Left out it is the route's.
    pub namespace: Option<String>,
    /// Of the backend.
    pub name: String,
    /// The service's own.
    pub port: Option<Port>,
    /// In proportion to the others'; 1 if left out.
    pub weight: Option<u32>,
    /// What is changed for this backend.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// How long requests may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// As a whole. Zero: as long as it takes.
    pub request: Option<Duration>,
    /// Each try.
    pub backend_request: Option<Duration>,
}

/// What is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRetry {
    /// Response codes.
    pub codes: Vec<u16>,
    /// Tries after the first.
    pub attempts: Option<u32>,
    /// Before the next try.
    pub backoff: Option<Duration>,
}
