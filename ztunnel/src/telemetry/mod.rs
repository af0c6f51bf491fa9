//! What people and machines see of connections: Istio's standard metrics and one access-log line each.

pub(crate) mod denials;
mod facts;
mod labels;
mod party;
mod record;
mod series;

pub(crate) use facts::{Direction, Facts};
pub(crate) use party::Party;
pub(crate) use record::Record;
pub(crate) use series::{Series, forget_idle};
