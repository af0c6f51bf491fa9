//! The agent of a node: finds its pods, owns the rules that capture their traffic, hands their network
//! namespaces to the ztunnels, and tells the controller what is captured.
//!
//! [`source`] tells of pods; [`manager`] keeps a [`worker`] for each; a worker offers its pod to the
//! [`ztunnels`], puts the [`capture`] in force and audits it, records it in the [`store`] and tells its
//! [`status`], which is [`report`]ed.
//!
//! Invariant: it reads nothing that comes from the network's peers.

pub mod agent;
pub mod capture;
pub mod claims;
pub mod cleanup;
pub mod cni;
pub mod config;
mod file;
pub mod kubernetes;
pub mod manager;
mod metrics;
pub mod netlink;
pub mod place;
pub mod pod;
pub mod report;
pub mod source;
pub mod status;
pub mod store;
pub mod upkeep;
pub mod worker;
pub mod ztunnels;
