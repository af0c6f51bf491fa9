//! One policy: whom it strikes, and with what.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_policy::fault::{Delay, Share, Term};
use culvert_proto::node as pb;
use culvert_xds::fault as wire;
use culvert_xds::state::Invalid;
use prost::Message as _;
use serde::{Serialize, Serializer};

use super::aim::Aim;

/// A FaultPolicy, as far as connections are concerned.
#[derive(Debug, Serialize)]
pub(crate) struct Policy {
    /// `NAMESPACE/NAME`.
    name: Arc<str>,
    /// Services `NAMESPACE/HOSTNAME`, and a port of each or 0 for all.
    targets: Vec<(Arc<str>, u16)>,
    /// Uids, in order.
    workloads: Vec<Arc<str>>,
    principals: Vec<Arc<str>>,
    #[serde(flatten)]
    pub(super) acts: Acts,
    #[serde(skip)]
    term: Option<Term>,
}

/// What it strikes with, each with how many are struck.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Acts {
    #[serde(serialize_with = "shown")]
    pub(super) delay: Option<(Delay, Share)>,
    /// After so many bytes.
    #[serde(serialize_with = "shown")]
    pub(super) reset: Option<(u64, Share)>,
    #[serde(serialize_with = "shown")]
    pub(super) blackhole: Option<((), Share)>,
    /// Bytes a second.
    #[serde(serialize_with = "shown")]
    pub(super) throttle: Option<(NonZeroU64, Share)>,
}

impl Policy {
    /// Decodes a resource, which is seen for the first time.
    pub(super) fn decode(body: &[u8]) -> Result<Self, Invalid> {
        let raw = pb::ConnectionFault::decode(body)?;
        let target = |target: &culvert_proto::waypoint::ServiceRef| {
            let port = u16::try_from(target.port);
            let port = port.map_err(|_| invalid("targets.port", "is no port"))?;
            Ok((target.service.as_str().into(), port))
        };
        let targets: Result<_, Invalid> = raw.targets.iter().map(target).collect();
        let mut workloads: Vec<Arc<str>> = raw.workloads.iter().map(|uid| (**uid).into()).collect();
        workloads.sort_unstable();
        let plain = |name: &String| match name.contains("://") || name.is_empty() {
            true => Err(invalid(
                "principals",
                "holds what is no name without scheme",
            )),
            false => Ok(name.as_str().into()),
        };
        let principals: Result<_, Invalid> = raw.principals.iter().map(plain).collect();
        let delay = raw.delay.as_ref().map(wire::delay).transpose();
        let share = |field, share| wire::share(share).map_err(within(field));
        let reset = raw.reset.map(|reset| {
            let share = share("reset", reset.per_ten_thousand);
            share.map(|share| (reset.after_bytes, share))
        });
        let blackhole = raw.blackhole.map(|blackhole| {
            let share = share("blackhole", blackhole.per_ten_thousand);
            share.map(|share| ((), share))
        });
        let throttle = raw.throttle.map(|throttle| {
            let rate = NonZeroU64::new(throttle.bytes_per_second);
            let rate = rate.ok_or_else(|| invalid("throttle.bytes_per_second", "is zero"))?;
            let share = share("throttle", throttle.per_ten_thousand);
            share.map(|share| (rate, share))
        });
        let term = raw.term.as_ref().map(wire::term).transpose();
        Ok(Self {
            name: format!("{}/{}", raw.namespace, raw.name).into(),
            targets: targets?,
            workloads,
            principals: principals?,
            acts: Acts {
                delay: delay.map_err(within("delay"))?,
                reset: reset.transpose()?,
                blackhole: blackhole.transpose()?,
                throttle: throttle.transpose()?,
            },
            term: term.map_err(within("term"))?,
        })
    }

    /// The same, which was known as `before`: a change of it does not begin its term anew.
    pub(super) fn following(self, before: Option<&Self>) -> Self {
        let known = before.and_then(|before| before.term);
        Self {
            term: self.term.map(|term| term.following(known)),
            ..self
        }
    }

    /// `NAMESPACE/NAME`.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// When it ends.
    pub(super) fn until(&self) -> Option<Instant> {
        self.term.map(|term| term.until())
    }

    /// How much of its term is left, if it has one.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.term.map(|term| term.left(now).unwrap_or_default())
    }

    /// Whether it is not over.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.left(now).is_none_or(|left| !left.is_zero())
    }

    /// Whether it is for such a connection.
    pub(super) fn is_for(&self, aim: &Aim) -> bool {
        let peer = aim.peer.as_ref().map(|id| plain(id.as_str()));
        let called_by = |name: &Arc<str>| peer == Some(&**name);
        if !self.principals.is_empty() && !self.principals.iter().any(called_by) {
            return false;
        }
        let is_target = |(service, port): &(Arc<str>, u16)| {
            let mut targets = self.targets.iter();
            targets.any(|(target, at)| target == service && (*at == 0 || at == port))
        };
        let selected = self.workloads.binary_search(&aim.workload).is_ok();
        selected || (!aim.asked.is_empty() && aim.asked.iter().all(is_target))
    }
}

/// An identity without its scheme.
fn plain(id: &str) -> &str {
    id.strip_prefix("spiffe://").unwrap_or(id)
}

fn invalid(field: &str, problem: &str) -> Invalid {
    Invalid {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

fn within(parent: &str) -> impl Fn(Invalid) -> Invalid {
    move |error| Invalid {
        field: format!("{parent}.{}", error.field),
        ..error
    }
}

/// For people who read a dump.
#[expect(clippy::ref_option, reason = "serde asks for it")]
fn shown<T: std::fmt::Debug, S: Serializer>(
    act: &Option<(T, Share)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match act {
        Some((act, share)) => serializer.collect_str(&format_args!("{act:?} {share:?}")),
        None => serializer.serialize_none(),
    }
}
