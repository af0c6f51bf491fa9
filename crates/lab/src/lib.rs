//! A laboratory of network namespaces on one machine: nodes, pods, a link, unmodified programs, and a mesh over them.
//!
//! The demo, the test suites and the performance harness share it. Invariant: everything that a laboratory makes
//! (namespaces, rules, processes, files) lives in a private [`world`] and is gone when that world's first process ends,
//! however it ends.

pub mod flow;
pub mod http;
pub mod leaks;
pub mod mesh;
pub mod netns;
pub mod objects;
pub mod packet;
pub mod process;
pub mod programs;
pub mod topology;
pub mod wait;
pub mod world;

pub use mesh::{Mesh, MeshOptions};
pub use netns::Netns;
pub use process::{Output, Process};
pub use topology::{Family, Lab, Node, Pod};
pub use wait::until;
pub use world::{enter, test, test_with};
