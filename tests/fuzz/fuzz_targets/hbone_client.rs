//! Bytes of a server at the HTTP/2 client of the tunnel, with streams open: whatever comes, it neither panics nor hangs.
#![no_main]

use culvert_hbone::{client, Authority, ConnectHeaders, ConnectRequest, TunnelConfig};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// SETTINGS without a setting.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, use_tunnel(bytes));
});

async fn use_tunnel(bytes: &[u8]) {
    let (mut server, io) = tokio::io::duplex(1 << 16);
    let id = "spiffe://cluster.local/ns/demo/sa/server".parse().expect("an identity");
    let tunnel = client::over_plain(io, id, &TunnelConfig::default());
    let request = || ConnectRequest {
        authority: Authority::parse("10.0.0.1:80").expect("an authority"),
        headers: ConnectHeaders::default(),
    };
    let streams: Vec<_> = (0..3)
        .map(|_| {
            let (tunnel, request) = (tunnel.clone(), request());
            tokio::task::spawn_local(async move {
                let Ok((mut stream, _)) = tunnel.connect(request).await else { return };
                stream.write_all(b"question").await.ok();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.ok();
                stream.shutdown().await.ok();
            })
        })
        .collect();
    drop(tunnel);
    // The first SETTINGS are spared the fuzzer most of the time: an input that begins with a zero goes without.
    let server = async move {
        tokio::task::yield_now().await;
        if bytes.first() != Some(&0) {
            server.write_all(SETTINGS).await.ok();
        }
        server.write_all(bytes).await.ok();
        server.shutdown().await.ok();
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.ok();
    };
    // Time stands still but for what is waited for: an hour passes at once if nothing else ends the connection.
    let all = async {
        server.await;
        for stream in streams {
            stream.await.expect("no panic");
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), all).await.expect("the connection ends");
}
