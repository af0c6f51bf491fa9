//! The server's end of tunnels without TLS, for conformance tools such as h2spec: `plain_server 127.0.0.1:8080`. Every
//! CONNECT becomes an echo.

use anyhow::Context as _;
use culvert_hbone::server::{Peer, serve_plain};
use culvert_hbone::{Incoming, ResponseHeaders, TunnelConfig};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

fn main() -> anyhow::Result<()> {
    let addr = std::env::args()
        .nth(1)
        .context("the address to listen on")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(addr).await?;
        let (_trigger, drain) = culvert_runtime::drain::channel();
        loop {
            let (tcp, addr) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let id = "spiffe://cluster.local/ns/test/sa/client".parse()?;
            let drain = drain.clone();
            spawn_local(async move {
                let peer = Peer { id, addr };
                let config = TunnelConfig::default();
                let ended = serve_plain(tcp, peer, &config, &drain, echo).await;
                println!("{addr}: {ended:?}");
            });
        }
    })
}

fn echo(incoming: Incoming) {
    spawn_local(async move {
        let Ok(stream) = incoming.accept(&ResponseHeaders::default()) else {
            return;
        };
        let (mut read, mut write) = tokio::io::split(stream);
        if tokio::io::copy(&mut read, &mut write).await.is_ok() {
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
        }
    });
}
