//! What a route's rule or a backend does to requests and responses.
//!
//! Invariant: filters change what users name and nothing else; headers that frame a message are out of their reach.

use std::sync::{Arc, LazyLock};

use culvert_proto::waypoint as pb;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::cors::Cors;
use super::{ConfigError, PerTenThousand, ServiceRef, decode_all};
use crate::path;

/// All filters of a rule or of a backend, in the order of their kinds.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Changes of request headers.
    pub request: Vec<HeaderChange>,
    /// Changes of response headers.
    pub response: Vec<HeaderChange>,
    /// An answer instead of a backend's.
    pub redirect: Option<Redirect>,
    /// A change of host or path.
    pub rewrite: Option<Rewrite>,
    /// Copies of requests.
    pub mirrors: Vec<Mirror>,
    /// What pages of other origins may do with answers.
    pub cors: Option<Arc<Cors>>,
    /// Why requests get 500.
    pub unresolved: Option<String>,
}

/// Changes of headers.
#[derive(Debug, Clone, Default)]
pub struct HeaderChange {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// A new path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// In place of the whole path.
    Full(Box<str>),
    /// In place of the prefix that the match names. Kept without a trailing slash.
    Prefix(Box<str>),
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// `http` or `https`; absent keeps the request's.
    pub scheme: Option<&'static str>,
    /// Absent keeps the request's.
    pub hostname: Option<Box<str>>,
    /// Absent keeps the request's.
    pub path: Option<PathChange>,
    /// Absent follows from the scheme.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// Another host or path for the backend.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Absent keeps the request's.
    pub hostname: Option<HeaderValue>,
    /// Absent keeps the request's.
    pub path: Option<PathChange>,
}

/// A copy of requests for a further service, whose answers nobody reads.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where copies go, or why none do.
    pub target: Result<ServiceRef, String>,
    /// Of how many requests.
    pub share: PerTenThousand,
}

impl Filters {
    /// Sorts a list of filters by kind.
    pub fn decode(raw: &[pb::HttpFilter]) -> Result<Self, ConfigError> {
        let mut filters = Self::default();
        for (index, filter) in raw.iter().enumerate() {
            filters
                .push(filter)
                .map_err(|error| error.within(&format!("filters[{index}]")))?;
        }
        Ok(filters)
    }

    /// [`Self::decode`], where all that have none share one.
    pub fn shared(raw: &[pb::HttpFilter]) -> Result<Arc<Self>, ConfigError> {
        static NONE: LazyLock<Arc<Filters>> = LazyLock::new(Arc::default);
        if raw.is_empty() {
            return Ok(Arc::clone(&NONE));
        }
        Self::decode(raw).map(Arc::new)
    }

    fn push(&mut self, raw: &pb::HttpFilter) -> Result<(), ConfigError> {
        use pb::http_filter::Kind;
        match &raw.kind {
            Some(Kind::RequestHeaders(change)) => {
                self.request
                    .push(HeaderChange::decode(change).map_err(|e| e.within("request_headers"))?);
            }
            Some(Kind::ResponseHeaders(change)) => {
                self.response
                    .push(HeaderChange::decode(change).map_err(|e| e.within("response_headers"))?);
            }
            Some(Kind::Redirect(redirect)) => {
                self.redirect = Some(Redirect::decode(redirect).map_err(|e| e.within("redirect"))?);
            }
            Some(Kind::Rewrite(rewrite)) => {
                self.rewrite = Some(Rewrite::decode(rewrite).map_err(|e| e.within("rewrite"))?);
            }
            Some(Kind::Mirror(mirror)) => {
                self.mirrors
                    .push(Mirror::decode(mirror).map_err(|e| e.within("mirror"))?);
            }
            Some(Kind::Cors(cors)) => {
                let cors = Cors::decode(cors).map_err(|e| e.within("cors"))?;
                self.cors = Some(Arc::new(cors));
            }
            Some(Kind::Unresolved(reason)) => self.unresolved = Some(reason.clone()),
            None => return Err(ConfigError::new("kind", "a filter of no known kind")),
        }
        Ok(())
    }

    /// Whether a filter replaces a path prefix, which needs a match that names one.
    pub fn replaces_prefix(&self) -> bool {
        let of = |path: &Option<PathChange>| matches!(path, Some(PathChange::Prefix(_)));
        self.rewrite
            .as_ref()
            .is_some_and(|rewrite| of(&rewrite.path))
            || self
                .redirect
                .as_ref()
                .is_some_and(|redirect| of(&redirect.path))
    }
}

impl HeaderChange {
    fn decode(raw: &pb::HeaderChange) -> Result<Self, ConfigError> {
        let pair = |raw: &pb::Header| {
            let value = HeaderValue::from_str(&raw.value).map_err(|_| {
                ConfigError::new("value", format!("`{}` is not a header value", raw.value))
            })?;
            Ok((free_name(&raw.name)?, value))
        };
        Ok(Self {
            set: decode_all("set", &raw.set, pair)?,
            add: decode_all("add", &raw.add, pair)?,
            remove: decode_all("remove", &raw.remove, |name| free_name(name))?,
        })
    }

    /// Removes, then sets, then adds.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// A header name that users may change: not `host`, and none that frames the message or belongs to one connection.
fn free_name(raw: &str) -> Result<HeaderName, ConfigError> {
    let name = HeaderName::from_bytes(raw.as_bytes())
        .map_err(|_| ConfigError::new("name", format!("`{raw}` is not a header name")))?;
    if name == header::HOST {
        return Err(ConfigError::new(
            "name",
            "`host` is changed by a rewrite of the hostname",
        ));
    }
    if name == header::CONTENT_LENGTH || crate::http::headers::is_hop_by_hop(&name) {
        return Err(ConfigError::new(
            "name",
            format!("`{name}` frames the message and can't be changed"),
        ));
    }
    Ok(name)
}

impl PathChange {
    fn decode(raw: Option<&pb::PathChange>) -> Result<Option<Self>, ConfigError> {
        use pb::path_change::Kind;
        let checked = |field: &str, path: &str| match path::check_path(path) {
            Ok(()) => Ok(()),
            Err(error) => Err(ConfigError::new(field, format!("`{path}`: {error}")).within("path")),
        };
        match raw.and_then(|raw| raw.kind.as_ref()) {
            None => Ok(None),
            Some(Kind::Full(path)) => {
                checked("full", path)?;
                Ok(Some(Self::Full(path.as_str().into())))
            }
            Some(Kind::Prefix(path)) => {
                if !path.is_empty() {
                    checked("prefix", path)?;
                }
                Ok(Some(Self::Prefix(path.trim_end_matches('/').into())))
            }
        }
    }

    /// The new path in place of `path`, of which `matched` is the prefix that the match named.
    pub fn apply(&self, path: &str, matched: &str) -> String {
        match self {
            Self::Full(full) => full.to_string(),
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(matched).unwrap_or(path);
                match (&**prefix, rest) {
                    ("", "") => "/".to_owned(),
                    (prefix, rest) => format!("{prefix}{rest}"),
                }
            }
        }
    }
}

impl Redirect {
    fn decode(raw: &pb::Redirect) -> Result<Self, ConfigError> {
        let scheme = match raw.scheme.as_str() {
            "" => None,
            "http" => Some("http"),
            "https" => Some("https"),
            other => {
                return Err(ConfigError::new(
                    "scheme",
                    format!("`{other}` is neither http nor https"),
                ));
            }
        };
        let status = match raw.status {
            0 => StatusCode::FOUND,
            status @ (301 | 302 | 303 | 307 | 308) => {
                StatusCode::from_u16(u16::try_from(status).unwrap_or(302))
                    .map_err(|error| ConfigError::new("status", error.to_string()))?
            }
            other => {
                return Err(ConfigError::new(
                    "status",
                    format!("{other} is not 301, 302, 303, 307 or 308"),
                ));
            }
        };
        let port = match u16::try_from(raw.port) {
            Ok(0) => None,
            Ok(port) => Some(port),
            Err(_) => {
                return Err(ConfigError::new(
                    "port",
                    format!("{} is not a port", raw.port),
                ));
            }
        };
        let hostname = hostname(&raw.hostname)?;
        Ok(Self {
            scheme,
            hostname,
            path: PathChange::decode(raw.path.as_ref())?,
            port,
            status,
        })
    }

    /// The `Location` for a request to `host`, `path` and `query` at `port` by `scheme`, of whose path `matched` is the
    /// prefix that the match named.
    pub fn location(
        &self,
        scheme: &'static str,
        host: &str,
        port: u16,
        path: &str,
        query: Option<&str>,
        matched: &str,
    ) -> String {
        let scheme = self.scheme.unwrap_or(scheme);
        let well_known = if scheme == "https" { 443 } else { 80 };
        let port = self.port.unwrap_or(if self.scheme.is_some() {
            well_known
        } else {
            port
        });
        let host = self.hostname.as_deref().unwrap_or(host);
        let path = self
            .path
            .as_ref()
            .map(|change| change.apply(path, matched))
            .unwrap_or_else(|| path.to_owned());
        let port = if port == well_known {
            String::new()
        } else {
            format!(":{port}")
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

impl Rewrite {
    fn decode(raw: &pb::Rewrite) -> Result<Self, ConfigError> {
        let hostname = hostname(&raw.hostname)?
            .map(|host| HeaderValue::from_str(&host))
            .transpose()
            .map_err(|error| ConfigError::new("hostname", error.to_string()))?;
        Ok(Self {
            hostname,
            path: PathChange::decode(raw.path.as_ref())?,
        })
    }
}

/// An optional host name without port.
fn hostname(raw: &str) -> Result<Option<Box<str>>, ConfigError> {
    if raw.is_empty() {
        return Ok(None);
    }
    match crate::http::host::Host::parse(raw.as_bytes()) {
        Ok(host) if host.port().is_none() => Ok(Some(host.name().into())),
        _ => Err(ConfigError::new(
            "hostname",
            format!("`{raw}` is not a host name"),
        )),
    }
}

impl Mirror {
    fn decode(raw: &pb::Mirror) -> Result<Self, ConfigError> {
        use pb::http_backend::Target;
        let target = match raw
            .backend
            .as_ref()
            .and_then(|backend| backend.target.as_ref())
        {
            Some(Target::Service(service)) => {
                Ok(ServiceRef::decode(service).map_err(|e| e.within("backend"))?)
            }
            Some(Target::Unresolved(reason)) => Err(reason.clone()),
            None => return Err(ConfigError::new("backend", "names no target")),
        };
        Ok(Self {
            target,
            share: PerTenThousand::new(raw.per_ten_thousand)?,
        })
    }
}

#[cfg(test)]
mod tests;
