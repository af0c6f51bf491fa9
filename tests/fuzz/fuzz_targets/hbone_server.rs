//! Bytes of a client at the HTTP/2 server of the tunnel: whatever comes, it neither panics nor hangs.
#![no_main]

mod tunnel;

use culvert_hbone::TunnelConfig;
use culvert_hbone::server::{self, Peer};
use culvert_runtime::drain;
use std::net::{Ipv4Addr, SocketAddr};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tunnel::within_an_hour(serve(bytes));
});

async fn serve(bytes: &[u8]) {
    let (client, io) = tokio::io::duplex(1 << 16);
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
    tokio::join!(server, tunnel::peer(client, PREFACE, bytes)).0.ok();
}
