//! DNS over TCP: answers that UDP has no room for. Each message has its length before it (RFC 1035, 4.2.2).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use culvert_runtime::drain::Drain;
use culvert_runtime::{accept, net, task};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::message::{Decision, Transport};
use super::{Dns, message, metrics};
use crate::egress;

/// Answer the questions on connections to `listener`, until the drain.
pub(crate) async fn serve(dns: Rc<Dns>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(pod = %dns.pod.uid(), %error, "no DNS over TCP"),
    };
    let drain: Drain = dns.drain.clone();
    accept::run(listener, drain, move |client, peer| {
        let dns = dns.clone();
        task::spawn_local("dns_connection", async move {
            let Ok(_permit) = dns.in_flight.try_acquire() else {
                metrics::dropped("limit");
                return drop(net::set_reset_on_close(&client));
            };
            if let Err(error) = converse(&dns, client, peer).await {
                tracing::debug!(pod = %dns.pod.uid(), %error, "DNS over TCP");
            }
        });
    })
    .await;
}

/// One question after another, as the client sends them.
async fn converse(dns: &Dns, client: std::net::TcpStream, peer: SocketAddr) -> io::Result<()> {
    let resolver = net::original_dst(&client, peer)?;
    if dns.is_loop(resolver) {
        metrics::dropped("loop");
        return net::set_reset_on_close(&client);
    }
    let mut client = TcpStream::from_std(client)?;
    while let Some(question) = within(dns, read_message(&mut client)).await? {
        let mut decision = dns.decide(&question, Transport::Tcp);
        if decision == Decision::Forward {
            decision = dns.decide_later(&question, Transport::Tcp).await;
        }
        let answer = match decision {
            Decision::Answer(bytes) | Decision::Malformed(bytes) => bytes,
            Decision::Forward => match ask(dns, resolver, &question).await {
                Ok(answer) => answer,
                Err(error) => message::failure(&question).ok_or(error)?,
            },
            Decision::Ignore => {
                metrics::dropped("malformed");
                return Ok(());
            }
        };
        within(dns, write_message(&mut client, &answer)).await?;
    }
    Ok(())
}

/// Ask the resolver, on a connection of its own.
async fn ask(dns: &Dns, resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    metrics::handed_on();
    let started = Instant::now();
    let exchange = async {
        if dns.is_relayed(resolver, question) {
            let egress = &dns.node.egress;
            return egress
                .relay(resolver, question, egress::Transport::Tcp)
                .await;
        }
        let mut upstream = dns.pod.dial(resolver, dns.node.limits.dns_timeout).await?;
        write_message(&mut upstream, question).await?;
        read_message(&mut upstream)
            .await?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    let answer = within(dns, exchange).await;
    match &answer {
        Ok(_) => metrics::answered(started.elapsed()),
        Err(_) => metrics::failed(),
    }
    answer
}

async fn within<T>(dns: &Dns, f: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timed = tokio::time::timeout(dns.node.limits.dns_timeout, f).await;
    timed.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The next message, `None` at the end of the connection.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_long| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
