//! Our CNI plugin on the node: in its configuration, and among its programs.

pub mod conflist;
pub mod directory;
pub mod install;
mod pace;
