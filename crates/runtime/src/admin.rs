//! The small HTTP/1.1 server of every process: admin, statistics and readiness.
//!
//! Invariants: answers are plain text or JSON, never HTML, and browsers are told not to guess; a client that
//! sends its request slowly, or never, is cut off.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, StatusCode};

mod query;
mod response;
mod serve;

pub use query::Query;
pub use response::Response;

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Arc<dyn Fn(Query) -> Answer + Send + Sync>;

/// Routes, to be served on any number of sockets.
#[derive(Clone, Default)]
pub struct Admin {
    routes: HashMap<String, Vec<(Method, Handler)>>,
}

impl Admin {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answer `method` on exactly `path` with `handler`.
    #[must_use]
    pub fn route<H, F>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Fn(Query) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |query| Box::pin(handler(query)));
        self.routes
            .entry(path.to_owned())
            .or_default()
            .push((method, handler));
        self
    }

    /// Add `GET /metrics` and `GET /stats/prometheus`.
    #[must_use]
    pub fn with_metrics(self) -> Self {
        self.route(Method::GET, "/metrics", |_query| async {
            Response::metrics()
        })
        .route(Method::GET, "/stats/prometheus", |_query| async {
            Response::metrics()
        })
    }

    /// Add `POST /logging?level=FILTER`.
    #[must_use]
    pub fn with_logging(self) -> Self {
        self.route(Method::POST, "/logging", |query| async move {
            let Some(level) = query.get("level") else {
                return Response::error(StatusCode::BAD_REQUEST, "level is missing\n");
            };
            match crate::trace::set_level(level) {
                Ok(()) => Response::text("ok\n"),
                Err(error) => Response::error(StatusCode::BAD_REQUEST, format!("{error}\n")),
            }
        })
    }

    /// Serve on `addr` by a task of the current runtime. Returns the bound address.
    pub fn serve_tcp(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let listener = crate::net::listen(addr, &crate::net::ListenOptions::default())?;
        let bound = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        crate::task::spawn("admin_tcp", serve::tcp(Arc::new(self.clone()), listener));
        Ok(bound)
    }

    /// Serve on the unix socket `path` (mode 0600) by a task of the current runtime. A socket that a dead
    /// process left there is replaced.
    pub fn serve_unix(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let listener = serve::bind_unix(path.as_ref())?;
        crate::task::spawn("admin_unix", serve::unix(Arc::new(self.clone()), listener));
        Ok(())
    }

    async fn answer(&self, method: &Method, path: &str, query: Query) -> Response {
        let Some(methods) = self.routes.get(path) else {
            return Response::error(StatusCode::NOT_FOUND, "no such path\n");
        };
        match methods.iter().find(|(m, _)| m == method) {
            Some((_, handler)) => handler(query).await,
            None => Response::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
