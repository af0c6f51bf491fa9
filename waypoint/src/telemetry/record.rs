//! The account of one request, closed exactly once, however the request ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};

use super::series::{Key, SeriesCache};
use crate::client::Client;
use crate::http::Busy;

/// What is known of a request so far. Dropped, it is logged and counted.
#[derive(Debug)]
pub struct Record {
    series: Rc<SeriesCache>,
    client: Rc<Client>,
    start: Instant,
    /// What the client asked for, if anybody reads the log.
    asked: Option<Asked>,
    busy: Option<Busy>,
    /// The number of the destination's labels.
    pub destination: u32,
    /// The service that the client addressed.
    pub service: Arc<str>,
    /// The route that matched.
    pub route: Option<Arc<str>>,
    /// The service that the request was sent to.
    pub backend: Option<Arc<str>>,
    /// The endpoint of the last try.
    pub endpoint: Option<Arc<str>>,
    /// Tries, the first included.
    pub tries: u32,
    /// `http` or `grpc`.
    pub protocol: &'static str,
    /// The response's status; 0 while there is none.
    pub status: u16,
    /// From the response's headers or trailers.
    pub grpc: Option<u8>,
    /// Why the response is not the backend's, `-` if it is.
    pub flags: &'static str,
    /// `delay`, `abort` or both.
    pub fault: Option<&'static str>,
    /// Body bytes to the client.
    pub sent: u64,
    /// Body bytes from the client.
    pub received: u64,
}

#[derive(Debug)]
struct Asked {
    method: Method,
    host: String,
    path: String,
}

impl Record {
    /// The account of a request that has just arrived.
    pub fn new(
        series: Rc<SeriesCache>,
        client: Rc<Client>,
        service: Arc<str>,
        destination: u32,
    ) -> Self {
        Self {
            series,
            client,
            start: Instant::now(),
            asked: None,
            busy: None,
            destination,
            service,
            route: None,
            backend: None,
            endpoint: None,
            tries: 0,
            protocol: "http",
            status: 0,
            grpc: None,
            flags: "-",
            fault: None,
            sent: 0,
            received: 0,
        }
    }

    /// Keeps the connection's account open as long as this one.
    pub fn busy(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// Keeps what the client asked for, if anybody reads the log. The query is left out: it may hold secrets.
    pub fn asked(&mut self, method: &Method, host: &str, path: &str, grpc: bool) {
        if grpc {
            self.protocol = "grpc";
        }
        if tracing::enabled!(target: "access", tracing::Level::INFO) {
            self.asked = Some(Asked {
                method: method.clone(),
                host: host.to_owned(),
                path: path.to_owned(),
            });
        }
    }

    /// Whether answers of our own must be gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.protocol == "grpc"
    }

    /// Whether something was done to the request that its backend did not do, or the backend failed.
    fn is_remarkable(&self) -> bool {
        self.flags != "-" || self.fault.is_some() || self.tries > 1 || self.status >= 500
    }

    /// Takes the response's status.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

/// One line of the access log. A macro, since a level is part of what is decided when the program is built.
macro_rules! log_line {
    ($level:expr, $record:expr, $asked:expr, $took:expr) => {{
        let (record, asked): (&Record, &Asked) = ($record, $asked);
        tracing::event!(
            target: "access",
            $level,
            reporter = "waypoint",
            src.addr = %record.client.address,
            src.identity = %record.client.id(),
            dst.service = %record.service,
            dst.workload = record.endpoint.as_deref().unwrap_or("-"),
            method = %asked.method,
            host = %asked.host,
            path = %asked.path,
            status = record.status,
            flags = record.flags,
            route = record.route.as_deref().unwrap_or("-"),
            backend = record.backend.as_deref().unwrap_or("-"),
            tries = record.tries,
            fault = record.fault.unwrap_or("-"),
            bytes_sent = record.sent,
            bytes_recv = record.received,
            duration = ?$took,
            "request complete"
        );
    }};
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        if self.status == 0 {
            // The client went away before there was a response.
            self.flags = "DC";
        }
        let key = Key {
            source: self.client.source,
            destination: self.destination,
            protocol: self.protocol,
            status: self.status,
            grpc: self.grpc,
            flags: self.flags,
        };
        self.series.get(key).observe(took);
        match &self.asked {
            Some(asked) if self.is_remarkable() => {
                log_line!(tracing::Level::INFO, self, asked, took)
            }
            Some(asked) => log_line!(tracing::Level::DEBUG, self, asked, took),
            None => {}
        }
    }
}
