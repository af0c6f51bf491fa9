//! A server of HTTP/1.1 that tells what it saw: the request's first line, its headers, its peer, its body's length.

use anyhow::{Context, Result};
use std::fmt::Write;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Answers requests until the client ends or asks to close.
pub(crate) async fn serve(stream: TcpStream, name: &str) -> Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        let length = header(&head, "content-length")
            .map_or(Ok(0), str::parse)
            .context("content-length")?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut answer = format!("name: {name}\npeer: {peer}\nbody: {length}\n");
        for line in &head {
            writeln!(answer, "> {line}")?;
        }
        let close =
            header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let connection = if close { "connection: close\r\n" } else { "" };
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n{connection}\r\n{answer}",
            answer.len()
        );
        stream.get_mut().write_all(response.as_bytes()).await?;
        if close {
            break;
        }
    }
    Ok(())
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(Some(lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
}
