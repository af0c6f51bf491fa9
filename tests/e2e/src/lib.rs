//! The end-to-end suite's harness: the test cluster, kubectl, the mesh's installation, the capture of the link, the report.
//!
//! Invariant: nothing here repeats an assertion until it holds. What is waited for is named, and has a deadline.

pub mod cluster;
pub mod connections;
pub mod kubectl;
pub mod link;
pub mod mesh;
pub mod node;
pub mod report;
pub mod run;
pub mod traffic;
