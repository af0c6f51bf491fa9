//! The control plane: reads the objects of the mesh, tells proxies and agents what concerns them, signs their
//! certificates, and says what became of each object.
//!
//! Objects come from a [`source`], are checked by [`admit`], and stand in one cache; [`translate`] is pure and makes
//! resources of them; the engine keeps what is served in step with the cache; [`serve`] speaks to clients.

pub mod admin;
pub mod admit;
pub mod api;
pub mod app;
pub mod atomic;
pub mod authority;
pub mod cache;
pub mod clock;
pub mod config;
pub mod crd;
pub mod deploy;
pub mod engine;
pub mod keys;
pub mod leader;
pub mod metrics;
pub mod model;
pub mod path;
pub mod serve;
pub mod source;
pub mod status;
pub mod translate;
pub mod world;

#[cfg(test)]
mod testing;
