//! Waiting for conditions. Invariant: nothing in a laboratory waits for time to pass, only for something to become
//! true, and never without a deadline.

use anyhow::{Result, bail};
use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// Long enough for anything that is going to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

const INTERVAL: Duration = Duration::from_millis(10);

/// Polls `condition` until it yields a value; after `deadline` fails with `what` was waited for and the last reason.
pub fn until<T>(
    what: impl Display,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let outcome = condition();
        match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) | Err(_) if Instant::now() < end => thread::sleep(INTERVAL),
            Ok(None) => bail!("{what}: not so after {deadline:?}"),
            Err(error) => return Err(error.context(format!("{what}: not so after {deadline:?}"))),
        }
    }
}

/// [`until`] for a plain yes or no, with [`PATIENCE`].
pub fn until_true(what: impl Display, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, PATIENCE, || Ok(condition().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut left = 3;
        let value = until("countdown", PATIENCE, || {
            left -= 1;
            Ok((left == 0).then_some("done"))
        });
        assert_eq!(value.unwrap(), "done");
    }

    #[test]
    fn the_last_reason_is_told() {
        let error = until::<()>("the impossible", Duration::ZERO, || bail!("because")).unwrap_err();
        assert!(
            format!("{error:#}").contains("the impossible: not so after 0ns: because"),
            "{error:#}"
        );
    }
}
