//! Delta ADS: to each client what concerns it, only what changed, and what is named before what names it.

mod demand;
mod driver;
mod service;
mod session;
mod subscription;
mod view;
mod wire;

pub(super) use service::Service;
#[cfg(test)]
pub(crate) use view::names as view_names;
