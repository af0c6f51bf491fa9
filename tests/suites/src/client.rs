//! A TCP client inside a pod. Every wait has a deadline, so that a lost byte fails a test instead of hanging it.

use anyhow::{Context, Result, ensure};
use boring::sha::Sha256;
use culvert_lab::Pod;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Record type and major version of an alert (RFC 8446, section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from inside `pod`.
pub fn connect(pod: &Pod, ip: IpAddr, port: u16) -> Result<TcpStream> {
    let address = SocketAddr::new(ip, port);
    let stream = pod
        .net
        .enter(|| TcpStream::connect_timeout(&address, PATIENCE))?
        .with_context(|| format!("{} to {address}", pod.key()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends `text` to an echo server and expects it back: a connection that works in both directions and ends well.
pub fn echo(pod: &Pod, ip: IpAddr, port: u16, text: &str) -> Result<()> {
    let mut stream = connect(pod, ip, port)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == text, "sent {text:?}, got {answer:?}");
    Ok(())
}

/// Sends `text` and expects it back on a connection that stays open.
pub fn ping(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    ensure!(
        answer == text.as_bytes(),
        "sent {text:?}, got {:?}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

/// How a connection that must not work ended: nothing was ever received on it but a TLS alert.
pub fn refused(pod: &Pod, ip: IpAddr, port: u16) -> Result<io::Error> {
    let address = SocketAddr::new(ip, port);
    let attempt = pod.net.enter(|| -> io::Result<usize> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"let me in\r\n")?;
        let mut answer = [0; 64];
        match stream.read(&mut answer)? {
            // A TLS alert: somebody was there, and said no to whoever brings no certificate.
            7 if answer.starts_with(&TLS_ALERT) => Err(ErrorKind::ConnectionAborted.into()),
            got => Ok(got),
        }
    })?;
    match attempt {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error)
            .with_context(|| format!("{} to {address} hangs instead of being refused", pod.key())),
        Err(error) => Ok(error),
        Ok(got) => anyhow::bail!(
            "{} to {address} is let through and gets {got} bytes",
            pod.key()
        ),
    }
}

/// Waits for a connection that was open to be ended by the other side; yields the error, if it was a reset.
pub fn ended(stream: &mut TcpStream) -> Result<Option<io::Error>> {
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(None),
        Ok(got) => anyhow::bail!("{got} bytes on a connection that should have ended"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(error).context("the connection lives on")
        }
        Err(error) => Ok(Some(error)),
    }
}

/// Asks the source for so many bytes, passes them on to the sink as they come, and expects that it got the same.
pub fn through(pod: &Pod, source: (IpAddr, u16), sink: (IpAddr, u16), size: usize) -> Result<()> {
    let mut stream = connect(pod, source.0, source.1)?;
    stream.write_all(format!("{size}\n").as_bytes())?;
    let mut sink = connect(pod, sink.0, sink.1)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut count, mut hash) = (0, Sha256::new());
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            break;
        }
        hash.update(&buffer[..got]);
        sink.write_all(&buffer[..got])?;
        count += got;
    }
    ensure!(count == size, "{count} bytes of {size}");
    sink.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    sink.read_to_string(&mut answer)?;
    let digest = hex(hash);
    ensure!(
        answer.trim() == format!("{size} {digest}"),
        "there and back: {answer}, expected {digest}"
    );
    let pattern: Vec<u8> = (0..65_521).map(|index| (index % 251) as u8).collect();
    let mut expected = Sha256::new();
    (0..size / pattern.len()).for_each(|_| expected.update(&pattern));
    expected.update(&pattern[..size % pattern.len()]);
    let expected = hex(expected);
    ensure!(digest == expected, "what the server sent is not what came");
    Ok(())
}

fn hex(hash: Sha256) -> String {
    let bytes = hash.finish();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
