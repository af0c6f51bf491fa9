//! Bytes of a server at the HTTP/2 client of the tunnel, with streams open: whatever comes, it neither panics nor hangs.
#![no_main]

mod tunnel;

use culvert_hbone::client::{self, Tunnel};
use culvert_hbone::{Authority, ConnectHeaders, ConnectRequest, TunnelConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// SETTINGS without a setting.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tunnel::within_an_hour(use_tunnel(bytes));
});

async fn use_tunnel(bytes: &[u8]) {
    let (server, io) = tokio::io::duplex(1 << 16);
    let id = "spiffe://cluster.local/ns/demo/sa/server".parse().expect("an identity");
    let client = client::over_plain(io, id, &TunnelConfig::default());
    let streams: Vec<_> = (0..3)
        .map(|_| tokio::task::spawn_local(ask(client.clone())))
        .collect();
    drop(client);
    tokio::task::yield_now().await;
    tunnel::peer(server, SETTINGS, bytes).await;
    for stream in streams {
        stream.await.expect("no panic");
    }
}

async fn ask(tunnel: Tunnel) {
    let request = ConnectRequest {
        authority: Authority::parse("10.0.0.1:80").expect("an authority"),
        headers: ConnectHeaders::default(),
        ahead: "first words".into(),
    };
    let Ok((mut stream, _)) = tunnel.connect(request).await else { return };
    stream.write_all(b"question").await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    stream.shutdown().await.ok();
}
