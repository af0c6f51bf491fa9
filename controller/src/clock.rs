//! The time of day.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;

/// Now, to the millisecond.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let milliseconds = i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
