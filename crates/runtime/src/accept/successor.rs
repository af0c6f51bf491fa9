//! Leaving a listening address to a successor that listens beside us (`SO_REUSEPORT`).
//!
//! Invariant: a client whose handshake began at our listener completes it there; whoever comes later meets the successor.
//! Linux resets a handshake that is in progress at a listener that closes (unless `tcp_migrate_req` is set, which is the
//! namespace's owner's to decide). So the listener first stops being chosen, and closes a moment later.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc::{BPF_K, BPF_RET, sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};

/// More than a round trip within a cluster: what a handshake that has begun needs.
pub(super) const HANDSHAKES: Duration = Duration::from_millis(250);

/// From now on the kernel chooses the listener that joined the address second, if there is one, and else as before.
pub(super) fn prefer(listener: &impl AsFd) -> nix::Result<()> {
    let code = u16::try_from(BPF_RET | BPF_K).unwrap_or_default();
    let second = 1;
    let mut program = [sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: second,
    }];
    let program = sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    setsockopt(listener, AttachReusePortCbpf, &program)
}
