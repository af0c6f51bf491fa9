//! A listener whose connections no runtime knows yet.

use std::io;

use mio::net::TcpListener;
use tokio::io::unix::AsyncFd;

/// Makes a non-blocking listener awaitable.
#[expect(unsafe_code, reason = "AsyncFd has no safe constructor")]
pub(super) fn register(listener: std::net::TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a listener names one open descriptor, always the same, and closes it only when the AsyncFd that owns it
    // drops it.
    let registered = unsafe { AsyncFd::register(TcpListener::from_std(listener)) };
    Ok(registered?)
}
