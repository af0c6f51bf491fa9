//! The one unsafe step of this crate: registering a descriptor with the reactor.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Make a non-blocking descriptor awaitable.
#[expect(unsafe_code, reason = "AsyncFd has no safe constructor")]
pub fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names one open descriptor, always the same, and closes it only when the
    // AsyncFd that owns it drops it.
    let registered = unsafe { AsyncFd::register(descriptor) };
    registered.map_err(|error| error.into_parts().1)
}
