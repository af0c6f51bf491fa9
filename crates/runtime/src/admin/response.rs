//! What a handler answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::Full;
use serde::Serialize;

const TEXT: &str = "text/plain; charset=utf-8";

/// Status, content type and body.
#[derive(Clone, Debug)]
pub struct Response {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Response {
    /// 200 with plain text.
    #[must_use]
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: TEXT,
            body: body.into(),
        }
    }

    /// A status with plain text.
    #[must_use]
    pub fn error(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: body.into(),
        }
    }

    /// 200 with `value` as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut body) => {
                body.push(b'\n');
                let content_type = "application/json";
                Self {
                    status: StatusCode::OK,
                    content_type,
                    body: body.into(),
                }
            }
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    /// 200 with the process's metrics.
    #[must_use]
    pub fn metrics() -> Self {
        let content_type = crate::metrics::CONTENT_TYPE;
        Self {
            status: StatusCode::OK,
            content_type,
            body: crate::metrics::encode().into(),
        }
    }

    /// The status code as a number.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn into_http(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers(self.content_type);
        response
    }
}

fn headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    headers
}
