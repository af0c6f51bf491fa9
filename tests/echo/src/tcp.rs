//! Habits of servers that are no HTTP. Each ends when its client does.

use anyhow::{Context, Result};
use boring::sha::Sha256;
use std::{fmt::Write, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time,
};

/// The pause of a slow reader before each read.
pub(crate) const SLOWNESS: Duration = Duration::from_millis(5);

/// What a source repeats: a prime length, so that no buffer size divides it.
const PATTERN_LENGTH: usize = 65_521;

pub(crate) async fn echo(mut stream: TcpStream) -> Result<()> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(())
}

pub(crate) async fn banner(mut stream: TcpStream, name: &str) -> Result<()> {
    let peer = stream.peer_addr()?;
    let peer = std::net::SocketAddr::new(peer.ip().to_canonical(), peer.port());
    stream
        .write_all(format!("220 {name} {peer}\r\n").as_bytes())
        .await?;
    echo(stream).await
}

pub(crate) async fn mute(mut stream: TcpStream) -> Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

pub(crate) async fn sink(mut stream: TcpStream, pause: Option<Duration>) -> Result<()> {
    let mut buffer = vec![0; if pause.is_some() { 16 << 10 } else { 256 << 10 }];
    let mut hash = Sha256::new();
    let mut count = 0;
    loop {
        if let Some(pause) = pause {
            time::sleep(pause).await;
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        count += read;
    }
    let mut answer = format!("{count} ");
    for byte in hash.finish() {
        write!(answer, "{byte:02x}")?;
    }
    answer.push('\n');
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

pub(crate) async fn source(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut left: usize = line.trim().parse().context("a source wants a count")?;
    let pattern: Vec<u8> = (0..PATTERN_LENGTH)
        .map(|index| (index % 251) as u8)
        .collect();
    let mut stream = stream.into_inner();
    while left > 0 {
        let piece = &pattern[..left.min(PATTERN_LENGTH)];
        stream.write_all(piece).await?;
        left -= piece.len();
    }
    stream.shutdown().await?;
    Ok(())
}

pub(crate) async fn stall(stream: TcpStream) -> Result<()> {
    // Until the peer resets: an end of stream stays unread behind the data.
    loop {
        time::sleep(Duration::from_secs(1)).await;
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
    }
}
