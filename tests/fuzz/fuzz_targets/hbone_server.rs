//! Bytes of a client at the HTTP/2 server of the tunnel: whatever comes, it neither panics nor hangs.
#![no_main]

use culvert_hbone::server::{self, Peer};
use culvert_hbone::TunnelConfig;
use culvert_runtime::drain;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(bytes));
});

async fn serve(bytes: &[u8]) {
    let (mut client, io) = tokio::io::duplex(1 << 16);
    let (_trigger, drain) = drain::channel();
    let peer = Peer {
        id: "spiffe://cluster.local/ns/demo/sa/client".parse().expect("an identity"),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    };
    let config = TunnelConfig::default();
    let server = server::serve_plain(io, peer, &config, &drain, |incoming| {
        assert_ne!(incoming.authority.port(), 0);
        drop(incoming);
    });
    // The preface is spared the fuzzer most of the time: an input that begins with a zero goes without.
    let client = async move {
        if bytes.first() != Some(&0) {
            client.write_all(PREFACE).await.ok();
        }
        client.write_all(bytes).await.ok();
        client.shutdown().await.ok();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.ok();
    };
    // Time stands still but for what is waited for: an hour passes at once if nothing else ends the connection.
    let both = async { tokio::join!(server, client) };
    tokio::time::timeout(Duration::from_secs(3600), both).await.expect("the connection ends").0.ok();
}
