//! A small server for the test suites: one process in a pod, one port for each habit that an application may have.

mod http;
mod tcp;

use anyhow::Result;
use clap::Parser;
use std::{net::Ipv6Addr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Serves each habit on the port given for it, over IPv4 and IPv6.
#[derive(Debug, Parser)]
#[command(name = "culvert-echo")]
struct Options {
    /// What the server calls itself in its answers.
    #[arg(long, default_value = "echo")]
    name: String,
    /// Sends back what it gets; after the client's end of stream ends its own.
    #[arg(long)]
    echo: Vec<u16>,
    /// Speaks first: `220 NAME PEER`, then as echo.
    #[arg(long)]
    banner: Vec<u16>,
    /// Ends its own direction at once, then reads on and discards.
    #[arg(long)]
    mute: Vec<u16>,
    /// Reads to the end of stream, then answers `COUNT SHA256`.
    #[arg(long)]
    sink: Vec<u16>,
    /// Reads a line `COUNT`, then sends that many bytes of a fixed pattern.
    #[arg(long)]
    source: Vec<u16>,
    /// As sink, but pauses before each read of 16 KiB.
    #[arg(long)]
    slow: Vec<u16>,
    /// Accepts and never reads.
    #[arg(long)]
    stall: Vec<u16>,
    /// HTTP/1.1: answers with what it saw of the request.
    #[arg(long)]
    http: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
enum Habit {
    Echo,
    Banner,
    Mute,
    Sink,
    Source,
    Slow,
    Stall,
    Http,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let name: Arc<str> = options.name.into();
    let ports = [
        (Habit::Echo, options.echo),
        (Habit::Banner, options.banner),
        (Habit::Mute, options.mute),
        (Habit::Sink, options.sink),
        (Habit::Source, options.source),
        (Habit::Slow, options.slow),
        (Habit::Stall, options.stall),
        (Habit::Http, options.http),
    ];
    let mut servers = JoinSet::new();
    for (habit, ports) in ports {
        for port in ports {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
            servers.spawn(serve(listener, habit, Arc::clone(&name)));
        }
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn serve(listener: TcpListener, habit: Habit, name: Arc<str>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let name = Arc::clone(&name);
        tokio::spawn(async move {
            if let Err(error) = handle(stream, habit, &name).await {
                eprintln!("{habit:?}: {error:#}");
            }
        });
    }
}

async fn handle(stream: TcpStream, habit: Habit, name: &str) -> Result<()> {
    match habit {
        Habit::Echo => tcp::echo(stream).await,
        Habit::Banner => tcp::banner(stream, name).await,
        Habit::Mute => tcp::mute(stream).await,
        Habit::Sink => tcp::sink(stream, None).await,
        Habit::Source => tcp::source(stream).await,
        Habit::Slow => tcp::sink(stream, Some(tcp::SLOWNESS)).await,
        Habit::Stall => tcp::stall(stream).await,
        Habit::Http => http::serve(stream, name).await,
    }
}
