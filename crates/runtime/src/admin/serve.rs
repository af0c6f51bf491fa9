//! The sockets of the admin server.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::{Admin, Query};

/// A request's headers, also the next one's on a kept connection, must be there within this.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Connections of one socket at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn tcp(admin: Arc<Admin>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connection(&admin, &slots, stream).await,
            Err(error) => pause("tcp", &error).await,
        }
    }
}

pub(super) async fn unix(admin: Arc<Admin>, listener: UnixListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connection(&admin, &slots, stream).await,
            Err(error) => pause("unix", &error).await,
        }
    }
}

async fn pause(socket: &str, error: &io::Error) {
    tracing::debug!(socket, %error, "admin server cannot accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serve `stream` in a task once there is a free slot.
async fn connection<S>(admin: &Arc<Admin>, slots: &Arc<Semaphore>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
        return;
    };
    let admin = Arc::clone(admin);
    crate::task::spawn("admin_connection", async move {
        let _slot = slot;
        let service = service_fn(move |request: http::Request<Incoming>| {
            let admin = Arc::clone(&admin);
            async move {
                let query = Query::parse(request.uri().query().unwrap_or_default());
                let answer = admin
                    .answer(request.method(), request.uri().path(), query)
                    .await;
                Ok::<_, Infallible>(answer.into_http())
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "admin connection ended");
        }
    });
}

/// Bind `path`, replacing a socket on which nobody listens any more.
pub(super) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(listener)
}
