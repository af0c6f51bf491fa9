//! Pods of this node: what the agent says of them, their sockets inside their own network namespaces, and dialling
//! from there.

mod ephemeral;
pub(crate) mod listeners;
mod metrics;
mod pod;
mod pods;
pub(crate) mod zds;

pub(crate) use pod::{Pod, PodView};
pub(crate) use pods::Pods;
