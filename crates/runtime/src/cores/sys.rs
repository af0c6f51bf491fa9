//! How long a data core's thread runs at a time where threads compete.
//!
//! The scheduler gives who asks for shorter slices its turn sooner, in sum no more (EEVDF, Linux 6.6 and later; the
//! length is taken from each thread since 6.12). A proxy is passed several times by each request, so that is what a
//! request waits for on a busy node.

use std::io;
use std::time::Duration;

/// Asks for slices of this length for the calling thread. An older kernel takes no notice.
pub(super) fn ask_for_slices(slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes from a structure that lives over the call, and 0 is the calling thread.
    #[expect(unsafe_code, reason = "neither libc nor nix wraps this system call")]
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
