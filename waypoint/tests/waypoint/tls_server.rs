//! The TLS of a backend's application, and what it has seen of its clients.

use std::cell::RefCell;
use std::rc::Rc;

use boring::pkey::PKey;
use boring::ssl::{
    AlpnError, NameType, Ssl, SslAcceptor, SslContext, SslMethod, SslVerifyMode, SslVersion,
    select_next_proto,
};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use culvert_proto::waypoint as pb;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_boring::SslStream;

use crate::authority::Authority;

/// A server's side of TLS.
#[derive(Clone)]
pub(crate) struct Server {
    context: SslContext,
    seen: Rc<RefCell<Vec<Seen>>>,
}

/// What was seen of one handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The server name that was asked for.
    pub(crate) name: String,
    /// The protocol that was agreed on.
    pub(crate) alpn: String,
    /// What the client proved itself with, in PEM.
    pub(crate) client: String,
}

/// What a server is like.
#[derive(Default)]
pub(crate) struct Like<'a> {
    /// Protocols that it knows, in ALPN's form; none: it knows no ALPN.
    pub(crate) alpn: &'static [u8],
    /// Clients have to prove who they are by this authority.
    pub(crate) clients: Option<&'a Authority>,
    /// It knows no version after this.
    pub(crate) version: Option<SslVersion>,
}

impl Server {
    /// One that speaks HTTP/1.1 and HTTP/2.
    pub(crate) fn new(certificate: &pb::Certificate) -> Self {
        let alpn = b"\x02h2\x08http/1.1";
        Self::like(
            certificate,
            &Like {
                alpn,
                ..Like::default()
            },
        )
    }

    pub(crate) fn like(certificate: &pb::Certificate, like: &Like<'_>) -> Self {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_min_proto_version(None).unwrap();
        builder.set_max_proto_version(like.version).unwrap();
        let chain = X509::stack_from_pem(certificate.chain.as_bytes()).unwrap();
        builder.set_certificate(&chain[0]).unwrap();
        let key = PKey::private_key_from_pem(certificate.key.as_bytes()).unwrap();
        builder.set_private_key(&key).unwrap();
        if !like.alpn.is_empty() {
            let known = like.alpn;
            builder.set_alpn_select_callback(move |_, offered| {
                select_next_proto(known, offered).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        if let Some(authority) = like.clients {
            let mut store = X509StoreBuilder::new().unwrap();
            let authority = X509::from_pem(authority.pem().as_bytes()).unwrap();
            store.add_cert(&authority).unwrap();
            builder.set_cert_store_builder(store);
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Self {
            context: builder.build().into_context(),
            seen: Rc::default(),
        }
    }

    /// Handshakes that were finished.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Finishes a handshake, if the client does.
    pub(crate) async fn accept<S>(&self, stream: S) -> Option<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = Ssl::new(&self.context).unwrap();
        let builder = tokio_boring::SslStreamBuilder::new(ssl, stream);
        let stream = builder.accept().await.ok()?;
        let ssl = stream.ssl();
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into();
        let client = ssl
            .peer_certificate()
            .map(|client| client.to_pem().unwrap());
        self.seen.borrow_mut().push(Seen {
            name: ssl
                .servername(NameType::HOST_NAME)
                .unwrap_or_default()
                .into(),
            alpn: text(ssl.selected_alpn_protocol()),
            client: text(client.as_deref()),
        });
        Some(stream)
    }
}
