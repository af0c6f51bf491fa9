//! One end of a tunnel beside a peer who sends what the fuzzer says. Time stands still but for what is waited for: an hour
//! passes at once if nothing else ends the connection.

use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Runs `f` where local tasks can be spawned; it must end within an hour.
pub fn within_an_hour<T>(f: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let f = async { tokio::time::timeout(Duration::from_secs(3600), f).await };
    tokio::task::LocalSet::new().block_on(&runtime, f).expect("the connection ends")
}

/// The peer: `greeting`, unless the input begins with a zero, then the input. Ends when the other end has ended its side.
pub async fn peer(mut io: DuplexStream, greeting: &[u8], bytes: &[u8]) {
    if bytes.first() != Some(&0) {
        io.write_all(greeting).await.ok();
    }
    io.write_all(bytes).await.ok();
    io.shutdown().await.ok();
    let mut sent = Vec::new();
    io.read_to_end(&mut sent).await.ok();
}
