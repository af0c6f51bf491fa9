//! Towards the backends: which endpoint, over which connection, within which bounds.

pub mod balance;
pub mod budget;
pub mod connect;
pub mod endpoint;
pub mod endpoints;
pub mod limit;
pub mod pool;
