//! What has struck one connection, and for how long it holds.
//!
//! Invariant: a fault holds a connection only as long as the policy that struck it strikes so and is for that connection;
//! the dice are not rolled a second time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_policy::fault::Share;
use tokio::sync::watch;

use super::aim::Aim;
use super::policy::Policy;
use super::{Table, metrics};

/// The faults of one connection, each with its policy.
#[derive(Debug)]
pub(crate) struct Strike {
    delay: Option<(Duration, Arc<Policy>)>,
    reset: Option<(u64, Arc<Policy>)>,
    blackhole: Option<((), Arc<Policy>)>,
    throttle: Option<(u64, Arc<Policy>)>,
    aim: Aim,
    changes: watch::Receiver<Arc<Table>>,
}

/// What bytes are under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// None goes through.
    pub(crate) blackhole: bool,
    /// Bytes in both directions, after which it is reset.
    pub(crate) reset_after: Option<u64>,
    /// Bytes a second in each direction.
    pub(crate) throttle: Option<u64>,
    /// The policy that resets it, or lets nothing through.
    pub(crate) policy: Option<Arc<str>>,
}

impl Strike {
    /// Rolls for each kind with the policies for this connection, in order, until one strikes so.
    pub(super) fn roll(
        table: &Table,
        aim: Aim,
        changes: watch::Receiver<Arc<Table>>,
        mut uniform: impl FnMut() -> f64,
    ) -> Option<Self> {
        let now = Instant::now();
        let mut strike = Self {
            delay: None,
            reset: None,
            blackhole: None,
            throttle: None,
            aim,
            changes,
        };
        let active = table.values().filter(|policy| policy.is_active(now));
        for policy in active.filter(|policy| policy.is_for(&strike.aim)) {
            let acts = &policy.acts;
            let mut hit = |share: Share| share.strikes(uniform());
            let delay = acts.delay.filter(|(_, share)| hit(*share));
            let reset = acts.reset.filter(|(_, share)| hit(*share));
            let blackhole = acts.blackhole.filter(|(_, share)| hit(*share));
            let throttle = acts.throttle.filter(|(_, share)| hit(*share));
            let delay = delay.map(|(delay, _)| delay.draw(&mut uniform));
            let by = || policy.clone();
            strike.delay = strike.delay.or_else(|| Some((delay?, by())));
            strike.reset = strike.reset.or_else(|| Some((reset?.0, by())));
            strike.blackhole = strike.blackhole.or_else(|| Some((blackhole?.0, by())));
            strike.throttle = strike.throttle.or_else(|| Some((throttle?.0.get(), by())));
        }
        // What a connection into nothing, or one that is reset at once, does not come to.
        if strike.blackhole.is_some() {
            strike.reset = None;
        }
        if !strike.dials() {
            strike.throttle = None;
        }
        (strike.delay.is_some() || strike.shapes()).then_some(strike)
    }

    /// Whether the application gets to know of the connection.
    pub(crate) fn dials(&self) -> bool {
        self.blackhole.is_none() && !matches!(self.reset, Some((0, _)))
    }

    /// Whether it does anything to bytes.
    pub(crate) fn shapes(&self) -> bool {
        self.reset.is_some() || self.blackhole.is_some() || self.throttle.is_some()
    }

    /// What bytes are under now.
    pub(crate) fn shape(&self) -> Shape {
        let blackhole = self.blackhole.as_ref().map(|(_, policy)| policy);
        let reset = self.reset.as_ref().map(|(_, policy)| policy);
        Shape {
            blackhole: blackhole.is_some(),
            reset_after: self.reset.as_ref().map(|(bytes, _)| *bytes),
            throttle: self.throttle.as_ref().map(|(rate, _)| *rate),
            policy: blackhole.or(reset).map(|policy| policy.name().clone()),
        }
    }

    /// Calls `f` with the kind and the policy of each fault.
    pub(super) fn each(&self, mut f: impl FnMut(&'static str, &str)) {
        let [delay, reset, blackhole, throttle] = metrics::KINDS;
        let policies = [
            (delay, self.delay.as_ref().map(|(_, policy)| policy)),
            (reset, self.reset.as_ref().map(|(_, policy)| policy)),
            (blackhole, self.blackhole.as_ref().map(|(_, policy)| policy)),
            (throttle, self.throttle.as_ref().map(|(_, policy)| policy)),
        ];
        for (kind, policy) in policies {
            if let Some(policy) = policy {
                f(kind, policy.name());
            }
        }
    }

    /// For the log: `delay:NAMESPACE/NAME,throttle:NAMESPACE/NAME`.
    pub(crate) fn label(&self) -> Arc<str> {
        let mut label = String::new();
        self.each(|kind, policy| {
            let comma = if label.is_empty() { "" } else { "," };
            label = format!("{label}{comma}{kind}:{policy}");
        });
        label.into()
    }

    /// Waits the delay out, or until its policy lets go.
    pub(crate) async fn wait(&mut self) {
        let Some((delay, policy)) = self.delay.take() else {
            return;
        };
        let mut rest = std::pin::pin!(tokio::time::sleep(delay));
        while self.holds(&policy, |now| now.acts.delay == policy.acts.delay) {
            tokio::select! {
                () = &mut rest => return,
                changed = self.changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until anything of it is over, and gives back the rest.
    pub(crate) async fn lapse(mut self) -> Self {
        loop {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let before = self.shape();
            self.let_go();
            if self.shape() != before {
                return self;
            }
        }
    }

    /// Drop what does not hold any more.
    pub(crate) fn let_go(&mut self) {
        let reset = self.reset.take();
        self.reset = reset.filter(|(_, by)| self.holds(by, |now| now.acts.reset == by.acts.reset));
        let blackhole = self.blackhole.take();
        self.blackhole = blackhole
            .filter(|(_, by)| self.holds(by, |now| now.acts.blackhole == by.acts.blackhole));
        let throttle = self.throttle.take();
        self.throttle =
            throttle.filter(|(_, by)| self.holds(by, |now| now.acts.throttle == by.acts.throttle));
    }

    /// Whether a policy that struck is there, in force, for this connection, and strikes the `same`.
    fn holds(&self, policy: &Policy, same: impl FnOnce(&Policy) -> bool) -> bool {
        let table = self.changes.borrow();
        let mut known = table.values();
        let now = known.find(|known| known.name() == policy.name());
        now.is_some_and(|now| now.is_active(Instant::now()) && now.is_for(&self.aim) && same(now))
    }
}
