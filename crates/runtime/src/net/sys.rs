//! What the kernel has measured of a connection.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use tokio::net::TcpStream;

/// The shortest round trip of the last five minutes, if there was any yet. The kernels of both ends measure it: that a
/// program waits for its turn on a busy node does not count.
pub fn least_round_trip(tcp: &TcpStream) -> io::Result<Option<Duration>> {
    // SAFETY: it is plain numbers, of which zero is one.
    #[expect(unsafe_code, reason = "libc gives its structures no default")]
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to a structure that has as many, and how many it wrote to `size`.
    #[expect(unsafe_code, reason = "neither socket2 nor nix has this option")]
    let result = unsafe {
        libc::getsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let told = size as usize >= offset_of!(libc::tcp_info, tcpi_min_rtt) + size_of::<u32>();
    // The kernel has no better word for "not yet" than the largest number.
    let micros = Some(info.tcpi_min_rtt).filter(|&micros| told && micros != u32::MAX);
    Ok(micros.map(|micros| Duration::from_micros(micros.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_on_loopback_is_short_from_the_start() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = crate::net::tcp_socket(&addr, &crate::net::SocketOptions::default()).unwrap();
        let client = crate::net::connect(socket, addr, Duration::from_secs(5));
        let (client, server) = tokio::join!(client, listener.accept());
        for end in [client.unwrap(), server.unwrap().0] {
            let way = least_round_trip(&end).unwrap().expect("known");
            assert!(
                way > Duration::ZERO && way < Duration::from_secs(1),
                "{way:?}"
            );
        }
    }
}
