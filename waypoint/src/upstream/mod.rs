//! Towards the backends: which endpoint, over which connection, within which bounds.

pub mod balance;
pub mod budget;
pub mod connect;
pub mod endpoint;
pub mod endpoints;
pub mod group;
pub mod hash;
pub mod limit;
pub mod member;
pub mod outlier;
mod outside;
mod place;
pub mod pool;
pub mod ramp;
pub mod registry;
pub mod shares;
mod through;
pub mod tiers;
mod watch;
