//! Who may talk to whom: a pure evaluator of layer 4 authorization and of what may be reached outside of the mesh, and the
//! one list of reasons for a refusal. And the arithmetic of [`fault`]s.
//!
//! Nothing here does I/O, waits, reads a clock or knows a protocol, so that a verdict is a function of a [`PolicySet`]
//! and a [`Connection`] alone. Invariants:
//!
//! * **Fail closed.** What cannot be known (a peer without identity, a rule that could not be read, a condition that
//!   this version does not understand) never helps an ALLOW policy to match, and never keeps a DENY policy from
//!   matching. [`evaluate`](PolicySet::evaluate) says where each case is decided.
//! * **Names are literal.** `.` and `*` in a name are characters; there is no glob and no regular expression.
//! * **One reading.** [`explain`] runs the same code as [`PolicySet::evaluate`] and so cannot disagree with it.

mod egress;
mod evaluate;
mod explain;
pub mod fault;
mod field;
mod model;
mod principal;
mod reason;
mod string_match;

pub use egress::{
    EgressBlock, EgressPolicy, EgressRule, EgressSet, EgressWord, HostPattern, InvalidHost,
};
pub use evaluate::{PolicySet, Verdict};
pub use explain::{
    ClauseExplanation, Explanation, FieldExplanation, MatchExplanation, Outcome, PolicyExplanation,
    RuleExplanation, explain,
};
pub use field::Field;
pub use model::{Action, Clause, Match, Policy, Rule, ServiceAccountMatch};
pub use principal::{Connection, InvalidPrincipal, Principal};
pub use reason::{DenyReason, UnknownDenyReason};
pub use string_match::StringMatch;
