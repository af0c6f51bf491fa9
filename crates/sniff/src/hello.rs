//! The server name in a ClientHello, read without an answer.
//!
//! BoringSSL itself reads it: a handshake that gets the client's bytes from memory, whose answers go nowhere, and which
//! ends as soon as the ClientHello is whole. What was read goes on to whoever finishes the handshake.
//!
//! Invariants: what decides here and what the backend's TLS reads are the same bytes. However they were cut on their way,
//! the outcome is the same.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{
    ClientHello, ExtensionType, HandshakeError, MidHandshakeSslStream, NameType, SelectCertError,
    Ssl, SslContext, SslMethod, SslStreamBuilder,
};
use bytes::{Bytes, BytesMut};
use culvert_policy::DenyReason;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::host::Host;

/// The longest ClientHello that is read. Those with post-quantum keys have 2 KiB.
const MAX_HELLO: usize = 32 * 1024;
/// Most come with one read of so much.
const USUAL_HELLO: usize = 4 * 1024;

/// A ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The server name in canonical form; empty if the client names none.
    pub server_name: Box<str>,
    /// Every byte that was read.
    pub bytes: Bytes,
}

/// Why there is no [`Hello`].
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The connection ended or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no TLS, or nothing that BoringSSL reads.
    #[error("not a ClientHello")]
    Malformed,
    /// The server name is none.
    #[error("the server name is not a host name")]
    ServerName,
    /// Longer than anything sensible.
    #[error("longer than {MAX_HELLO} bytes")]
    TooLong,
}

/// Reads a ClientHello of which `first` was read already. The caller sets the deadline.
pub async fn read<S>(stream: &mut S, first: Bytes) -> Result<Hello, HelloError>
where
    S: AsyncRead + Unpin,
{
    let mut all = BytesMut::from(first);
    all.reserve(USUAL_HELLO);
    let mut reader = Reader::new()?;
    let mut fed = 0;
    loop {
        let new = all.get(fed..).unwrap_or_default();
        if !new.is_empty()
            && let Some(server_name) = reader.feed(new)?
        {
            return Ok(Hello {
                server_name,
                bytes: all.freeze(),
            });
        }
        fed = all.len();
        if fed >= MAX_HELLO {
            return Err(HelloError::TooLong);
        }
        if stream.read_buf(&mut all).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// The same with a deadline, and why connections are refused that have none by then.
pub async fn by<S>(stream: &mut S, deadline: Instant) -> Result<Hello, DenyReason>
where
    S: AsyncRead + Unpin,
{
    match timeout_at(deadline, read(stream, Bytes::new())).await {
        Ok(Ok(hello)) => Ok(hello),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no ClientHello");
            Err(DenyReason::TlsHandshake)
        }
        Err(_) => Err(DenyReason::HandshakeTimeout),
    }
}

/// What the callback has seen.
#[derive(Debug)]
enum Seen {
    Nobody,
    Name(Box<[u8]>),
}

struct Reading {
    context: SslContext,
    seen: Index<Ssl, Seen>,
}

static READING: LazyLock<Result<Reading, ErrorStack>> = LazyLock::new(|| {
    let seen = Ssl::new_ex_index()?;
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_select_certificate_callback(move |mut hello: ClientHello<'_>| {
        let named = hello.get_extension(ExtensionType::SERVER_NAME).is_some();
        let name = hello.ssl().servername_raw(NameType::HOST_NAME);
        let what = match name {
            Some(name) => Seen::Name(name.into()),
            // An extension without a name in it is no name, and not nobody.
            None if named => Seen::Name(Box::default()),
            None => Seen::Nobody,
        };
        hello.ssl_mut().set_ex_data(seen, what);
        Err(SelectCertError::ERROR)
    });
    let context = builder.build();
    Ok(Reading { context, seen })
});

/// A handshake in memory, which ends with the ClientHello.
struct Reader {
    handshake: Option<MidHandshakeSslStream<Memory>>,
}

impl Reader {
    fn new() -> Result<Self, HelloError> {
        let reading = READING.as_ref().map_err(|_| HelloError::Malformed)?;
        let ssl = Ssl::new(&reading.context).map_err(|_| HelloError::Malformed)?;
        let handshake = SslStreamBuilder::new(ssl, Memory::default()).setup_accept();
        Ok(Self {
            handshake: Some(handshake),
        })
    }

    /// Takes further bytes, and says the name once the ClientHello is whole.
    fn feed(&mut self, bytes: &[u8]) -> Result<Option<Box<str>>, HelloError> {
        let mut handshake = self.handshake.take().ok_or(HelloError::Malformed)?;
        handshake.get_mut().unread.extend_from_slice(bytes);
        match handshake.handshake() {
            Err(HandshakeError::WouldBlock(more)) => {
                self.handshake = Some(more);
                Ok(None)
            }
            Err(HandshakeError::Failure(ended)) => {
                let reading = READING.as_ref().map_err(|_| HelloError::Malformed)?;
                match ended.ssl().ex_data(reading.seen) {
                    Some(Seen::Nobody) => Ok(Some("".into())),
                    Some(Seen::Name(name)) => canonical(name).map(Some),
                    None => Err(HelloError::Malformed),
                }
            }
            Ok(_) | Err(HandshakeError::SetupFailure(_)) => Err(HelloError::Malformed),
        }
    }
}

/// The form in which listeners and routes have it.
fn canonical(name: &[u8]) -> Result<Box<str>, HelloError> {
    match Host::parse(name) {
        Ok(host) if host.port().is_none() => Ok(host.name().into()),
        _ => Err(HelloError::ServerName),
    }
}

/// What the client has sent so far. What is said to it goes nowhere.
#[derive(Debug, Default)]
struct Memory {
    unread: BytesMut,
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.unread.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.unread.split_to(count);
        if let Some(into) = into.get_mut(..count) {
            into.copy_from_slice(&taken);
        }
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
