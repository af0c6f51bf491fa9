//! DNS over UDP. TPROXY leads a question here with its original destination, the resolver; the answer leaves from that
//! very address, so that the application cannot tell.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_runtime::{scratch, task};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::message::{Decision, Transport};
use super::{Dns, message, metrics};
use crate::egress;
use crate::inpod::listeners;

/// Resolvers of one pod whose addresses we can answer from without a new socket.
const MAX_REPLY_SOCKETS: usize = 16;

/// A question as it came.
struct Question {
    packet: Vec<u8>,
    client: SocketAddr,
    resolver: SocketAddr,
}

/// Only sends, and never waits for that, so the runtime need not know it.
type ReplySocket = std::net::UdpSocket;

/// Sockets to answer from, by the resolver whose address they have.
type Replies = HashMap<SocketAddr, Arc<ReplySocket>>;

/// Answer the questions that reach `socket`, until the drain.
pub(crate) async fn serve(dns: Rc<Dns>, socket: std::net::UdpSocket) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(pod = %dns.pod.uid(), %error, "no DNS over UDP"),
    };
    let mut replies = Replies::new();
    let draining = dns.drain.signaled();
    tokio::pin!(draining);
    loop {
        let question = tokio::select! {
            biased;
            () = &mut draining => return,
            question = socket.async_io(Interest::READABLE, || receive(&socket)) => question,
        };
        match question {
            Ok(Some(question)) if dns.is_loop(question.resolver) => metrics::dropped("loop"),
            Ok(Some(question)) => answer(&dns, &mut replies, question),
            Ok(None) => metrics::dropped("malformed"),
            // An error of an earlier packet (as "port unreachable"), or a shortage of memory that passes.
            Err(error) => {
                tracing::debug!(pod = %dns.pod.uid(), %error, "DNS over UDP");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

fn answer(dns: &Rc<Dns>, replies: &mut Replies, question: Question) {
    let reply = match reply_socket(dns, replies, question.resolver) {
        Ok(reply) => reply,
        Err(error) => {
            return tracing::debug!(resolver = %question.resolver, %error, "cannot answer for this resolver");
        }
    };
    match dns.decide(&question.packet, Transport::Udp) {
        Decision::Answer(bytes) | Decision::Malformed(bytes) => {
            send(&reply, &bytes, question.client)
        }
        Decision::Forward => hand_on(dns.clone(), reply, question),
        Decision::Ignore => metrics::dropped("malformed"),
    }
}

/// Ask the resolver in a task of its own, if not too many wait already.
fn hand_on(dns: Rc<Dns>, reply: Arc<ReplySocket>, question: Question) {
    if dns.in_flight.available_permits() == 0 {
        return metrics::dropped("limit");
    }
    task::spawn_local("dns_question", async move {
        let Ok(_permit) = dns.in_flight.try_acquire() else {
            return metrics::dropped("limit");
        };
        if let Decision::Answer(answer) = dns.decide_later(&question.packet, Transport::Udp).await {
            return send(&reply, &answer, question.client);
        }
        metrics::handed_on();
        let started = Instant::now();
        let patience = dns.node.limits.dns_timeout;
        let answer = match tokio::time::timeout(patience, ask(&dns, &question)).await {
            Ok(Ok(answer)) => {
                metrics::answered(started.elapsed());
                Some(answer)
            }
            Ok(Err(_)) | Err(_) => {
                metrics::failed();
                message::failure(&question.packet)
            }
        };
        if let Some(answer) = answer {
            send(&reply, &answer, question.client);
        }
    });
}

async fn ask(dns: &Dns, question: &Question) -> io::Result<Vec<u8>> {
    if dns.is_relayed(question.resolver, &question.packet) {
        let egress = &dns.node.egress;
        return egress
            .relay(question.resolver, &question.packet, egress::Transport::Udp)
            .await;
    }
    let socket = dns
        .pod
        .netns()
        .run(|| listeners::question_socket(question.resolver, dns.pod.mark()))??;
    let socket = UdpSocket::from_std(socket)?;
    socket.send(&question.packet).await?;
    loop {
        socket.readable().await?;
        let answer = scratch::with(|buffer| {
            socket
                .try_recv(buffer)
                .map(|n| buffer.get(..n).unwrap_or_default().to_vec())
        });
        match answer {
            // The kernel has checked who sent it; the number says that it belongs to this question.
            Ok(answer) if answer.get(..2) == question.packet.get(..2) => return Ok(answer),
            Ok(_another) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn send(reply: &ReplySocket, bytes: &[u8], client: SocketAddr) {
    // A full buffer drops the answer, as a network would.
    if let Err(error) = reply.send_to(bytes, client) {
        tracing::debug!(%client, %error, "a DNS answer was lost");
    }
}

fn reply_socket(
    dns: &Dns,
    replies: &mut Replies,
    resolver: SocketAddr,
) -> io::Result<Arc<ReplySocket>> {
    if let Some(known) = replies.get(&resolver) {
        return Ok(known.clone());
    }
    let socket = dns
        .pod
        .netns()
        .run(|| listeners::reply_socket(resolver, dns.pod.mark()))??;
    let socket = Arc::new(socket);
    if replies.len() >= MAX_REPLY_SOCKETS {
        replies.clear();
    }
    replies.insert(resolver, socket.clone());
    Ok(socket)
}

/// One packet, with where it came from and where it was going. `None` if the kernel did not say, or cut it.
fn receive(socket: &UdpSocket) -> io::Result<Option<Question>> {
    scratch::with(|buffer| {
        let mut control = nix::cmsg_space!(nix::libc::sockaddr_in6);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let (length, flags) = (message.bytes, message.flags);
        let client = message.address.as_ref().and_then(address);
        let resolver = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4OrigDstAddr(addr) => {
                Some(SocketAddr::from(to_v4(addr.into())))
            }
            ControlMessageOwned::Ipv6OrigDstAddr(addr) => {
                Some(SocketAddr::from(to_v6(addr.into())))
            }
            _ => None,
        });
        let (Some(client), Some(resolver), false) =
            (client, resolver, flags.contains(MsgFlags::MSG_TRUNC))
        else {
            return Ok(None);
        };
        Ok(Some(Question {
            packet: buffer.get(..length).unwrap_or_default().to_vec(),
            client,
            resolver,
        }))
    })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|addr| SocketAddr::from(to_v4(*addr)));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|addr| SocketAddr::from(to_v6(*addr)))
    })
}

fn to_v4(addr: SockaddrIn) -> std::net::SocketAddrV4 {
    addr.into()
}

fn to_v6(addr: SockaddrIn6) -> std::net::SocketAddrV6 {
    addr.into()
}
