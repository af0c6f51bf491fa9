//! Which pages of other origins may read answers: the CORS protocol of the Fetch standard, as the Gateway API has it.
//!
//! Invariant: an origin that is not understood is not allowed; credentials never go together with a wildcard in an answer.

use culvert_proto::waypoint as pb;
use http::{HeaderName, HeaderValue, Method};

use super::{ConfigError, decode_all};

/// If the user does not say: the Gateway API's own default.
const MAX_AGE: u32 = 5;
const ANY: &str = "*";

/// What pages of other origins are told.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    /// Whether cookies and the like may go along.
    pub credentials: bool,
    /// Methods beside those that need no leave.
    pub methods: Option<Allowed>,
    /// Headers beside those that need no leave.
    pub headers: Option<Allowed>,
    /// Headers of answers that pages may read, beside those that need no leave.
    pub expose: Option<HeaderValue>,
    /// Seconds for which clients keep the answer to a preflight.
    pub max_age: HeaderValue,
}

/// What is allowed, as it is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Everything.
    Any,
    /// These, with commas between them.
    Listed(HeaderValue),
}

#[derive(Debug)]
enum Origins {
    Any,
    Listed(Vec<Origin>),
}

/// An origin, or several that end alike.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Any,
    Exact(Box<str>),
    /// Any that ends so and has one label more at least: `.example.com`.
    Under(Box<str>),
}

impl Cors {
    pub(super) fn decode(raw: &pb::Cors) -> Result<Self, ConfigError> {
        let any = |list: &[String]| list.iter().any(|item| item == ANY);
        let origins = if any(&raw.allow_origins) {
            Origins::Any
        } else {
            let listed = decode_all("allow_origins", &raw.allow_origins, |raw| {
                let wrong = || ConfigError::new("origin", format!("`{raw}` is not an origin"));
                Origin::decode(raw).ok_or_else(wrong)
            })?;
            Origins::Listed(listed)
        };
        let allowed = |field: &str, list: &[String], valid: fn(&str) -> bool| {
            if any(list) {
                return Ok(Some(Allowed::Any));
            }
            Ok(joined(field, list, valid)?.map(Allowed::Listed))
        };
        let mut exposed = raw.expose_headers.clone();
        if raw.allow_credentials {
            // No wildcard there; nothing stands for it.
            exposed.retain(|name| name != ANY);
        }
        let max_age = Some(raw.max_age).filter(|age| *age != 0);
        Ok(Self {
            origins,
            credentials: raw.allow_credentials,
            methods: allowed("allow_methods", &raw.allow_methods, is_method)?,
            headers: allowed("allow_headers", &raw.allow_headers, is_header)?,
            expose: joined("expose_headers", &exposed, |name| {
                name == ANY || is_header(name)
            })?,
            max_age: max_age.unwrap_or(MAX_AGE).into(),
        })
    }

    /// Whether the same is told whoever asks.
    pub fn is_same_for_all(&self) -> bool {
        matches!(self.origins, Origins::Any) && !self.credentials
    }

    /// Whether pages of this origin, as a request names it, may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Listed(all) => Asked::parse(origin)
                .is_some_and(|asked| all.iter().any(|origin| origin.covers(asked))),
        }
    }
}

/// An origin as a request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
}

impl<'a> Asked<'a> {
    fn parse(raw: &'a HeaderValue) -> Option<Self> {
        let raw = raw.to_str().ok()?;
        let (scheme, rest) = Scheme::split(raw)?;
        let v6 = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match v6 {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
            None => port_of(rest),
        };
        let known = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || (v6.is_some() && byte == b':')
        };
        let good = !host.is_empty() && host.bytes().all(known);
        good.then_some(Self {
            scheme,
            host,
            port: scheme.port(port)?,
        })
    }
}

impl Origin {
    fn decode(raw: &str) -> Option<Self> {
        let (scheme, rest) = Scheme::split(raw)?;
        let (host, port) = port_of(rest);
        let port = scheme.port(port)?;
        let (under, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let host = if host == ANY {
            Host::Any
        } else if !name.split('.').all(label) {
            return None;
        } else if under {
            Host::Under(format!(".{name}").into())
        } else {
            Host::Exact(name.into())
        };
        Some(Self { scheme, host, port })
    }

    fn covers(&self, asked: Asked<'_>) -> bool {
        let host = match &self.host {
            Host::Any => true,
            Host::Exact(name) => asked.host.eq_ignore_ascii_case(name),
            Host::Under(end) => {
                let begins = asked.host.len().checked_sub(end.len());
                begins.filter(|at| *at > 0).is_some_and(|at| {
                    (asked.host.get(at..)).is_some_and(|rest| rest.eq_ignore_ascii_case(end))
                })
            }
        };
        host && self.scheme == asked.scheme && self.port == asked.port
    }
}

impl Scheme {
    fn split(raw: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = raw.split_once("://")?;
        match scheme {
            "http" => Some((Self::Http, rest)),
            "https" => Some((Self::Https, rest)),
            _ => None,
        }
    }

    /// The port that is written, or the scheme's own.
    fn port(self, written: Option<&str>) -> Option<u16> {
        let own = match self {
            Self::Http => 80,
            Self::Https => 443,
        };
        let Some(written) = written else {
            return Some(own);
        };
        let digits = written.bytes().all(|byte| byte.is_ascii_digit());
        let port = written.parse().ok().filter(|port| *port != 0);
        port.filter(|_| digits)
    }
}

fn port_of(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    }
}

fn is_method(raw: &str) -> bool {
    Method::from_bytes(raw.as_bytes()).is_ok()
}

fn is_header(raw: &str) -> bool {
    HeaderName::from_bytes(raw.as_bytes()).is_ok()
}

/// A list as a header has it; none if it is empty.
fn joined(
    field: &str,
    list: &[String],
    valid: fn(&str) -> bool,
) -> Result<Option<HeaderValue>, ConfigError> {
    let wrong = |item: &str| ConfigError::new(field, format!("`{item}` is not a name"));
    if let Some(item) = list.iter().find(|item| !valid(item)) {
        return Err(wrong(item));
    }
    let text = list.join(", ");
    if text.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::try_from(&text);
    value.map(Some).map_err(|_| wrong(&text))
}

#[cfg(test)]
mod tests;
