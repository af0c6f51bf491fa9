//! The waypoint in process over real HBONE: clients and backends with certificates of their own, addresses of a private
//! network namespace, and the very code that the program runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;
mod backend;
mod certificates;
mod client;
mod mesh;
mod outside;
mod resources;
mod tls_server;

mod backend_tls;
mod bodies;
mod cors;
mod faults;
mod gateway;
mod lifecycle;
mod limits;
mod locality;
mod policy;
mod resilience;
mod retries;
mod routes;
mod sessions;
mod smuggling;
mod tcp;
mod timeouts;
mod upgrade;
