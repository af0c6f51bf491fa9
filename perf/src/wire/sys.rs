//! TUN devices: the steps that the kernel offers by ioctl alone (Linux `Documentation/networking/tuntap.rst`).

use nix::{
    fcntl::{OFlag, open as open_file},
    libc,
    sys::stat::Mode,
};
use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

/// A TUN device of this name in the calling thread's network namespace, gone when the descriptor is closed. A packet is
/// read and written with the ten bytes of `struct virtio_net_hdr` before it.
#[expect(
    unsafe_code,
    reason = "an ioctl that fills in a structure of the kernel's"
)]
pub(super) fn open(name: &str) -> io::Result<OwnedFd> {
    let device = open_file(
        "/dev/net/tun",
        OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // SAFETY: all zeroes are a valid ifreq: it holds numbers and arrays of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (into, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *into = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads and writes one ifreq, which outlives the call.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    offload(&device, true)?;
    Ok(device)
}

/// Whether packets may come with their checksum and their cutting left to others.
#[expect(unsafe_code, reason = "an ioctl that takes a number")]
pub(super) fn offload(device: &OwnedFd, wanted: bool) -> io::Result<()> {
    let all = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let flags = libc::c_ulong::from(if wanted { all } else { 0 });
    // SAFETY: the descriptor is open; the argument is a number, not an address.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, flags) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
