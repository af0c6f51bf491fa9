//! A TLS context for one connection, made from what the files say at that moment.
//!
//! Invariant: without `insecure-skip-tls-verify` the server's chain and its name are both checked.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::error::ErrorStack;
use boring::pkey::PKey;
use boring::ssl::{
    SslConnector, SslConnectorBuilder, SslMethod, SslRef, SslVerifyMode, SslVersion,
};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use hyper_boring::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::Config;
use kube::config::AuthInfo;
use secrecy::ExposeSecret;

use crate::error::TlsError;

/// What a connection's context is made of.
pub(crate) struct Tls {
    roots: Roots,
    certificate: Option<(Material, Material)>,
    server_name: Option<String>,
    verify: bool,
}

enum Roots {
    System,
    Der(Vec<Vec<u8>>),
    File(PathBuf),
}

/// PEM that stands in the kubeconfig or in a file.
enum Material {
    Inline(Vec<u8>),
    File(PathBuf),
}

impl Material {
    fn of(
        name: &'static str,
        data: Option<&str>,
        file: Option<&str>,
    ) -> Result<Option<Self>, TlsError> {
        if let Some(data) = data {
            let data = STANDARD.decode(data.trim());
            return Ok(Some(Self::Inline(
                data.map_err(|_| TlsError::Base64(name))?,
            )));
        }
        Ok(file.map(|file| Self::File(file.into())))
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Inline(data) => Ok(data.clone()),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

fn step<T>(what: &'static str, result: Result<T, ErrorStack>) -> Result<T, TlsError> {
    result.map_err(|source| TlsError::Boring { what, source })
}

impl Tls {
    pub(crate) fn new(config: &Config) -> Result<Self, TlsError> {
        let AuthInfo {
            client_certificate,
            client_certificate_data,
            client_key,
            client_key_data,
            ..
        } = &config.auth_info;
        let certificate = Material::of(
            "client-certificate-data",
            client_certificate_data.as_deref(),
            client_certificate.as_deref(),
        )?;
        let key_data = client_key_data.as_ref().map(ExposeSecret::expose_secret);
        let key = Material::of("client-key-data", key_data, client_key.as_deref())?;
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(TlsError::Half),
        };
        let roots = match (&config.root_cert_file, &config.root_cert) {
            (Some(file), _) => Roots::File(file.clone()),
            (None, Some(der)) => Roots::Der(der.clone()),
            (None, None) => Roots::System,
        };
        Ok(Self {
            roots,
            certificate,
            server_name: config.tls_server_name.clone(),
            verify: !config.accept_invalid_certs,
        })
    }

    /// A connector over `http` with a context of its own.
    pub(crate) fn connector(
        &self,
        http: HttpConnector,
    ) -> Result<HttpsConnector<HttpConnector>, TlsError> {
        let builder = self.builder()?;
        let connector = HttpsConnector::with_connector(http, builder);
        let mut connector = step("TLS connector", connector)?;
        if let Some(name) = self.server_name.clone() {
            // The URL's own host is then neither sent nor expected.
            connector.set_callback(|ssl, _| {
                ssl.set_verify_hostname(false);
                ssl.set_use_server_name_indication(false);
                Ok(())
            });
            connector.set_ssl_callback(move |ssl, _| expect(ssl, &name));
        }
        Ok(connector)
    }

    fn builder(&self) -> Result<SslConnectorBuilder, TlsError> {
        let mut builder = step("TLS context", SslConnector::builder(SslMethod::tls()))?;
        step(
            "TLS version",
            builder.set_min_proto_version(Some(SslVersion::TLS1_2)),
        )?;
        step("ALPN", builder.set_alpn_protos(b"\x08http/1.1"))?;
        match &self.roots {
            Roots::System => {}
            Roots::Der(roots) => trust(&mut builder, roots.iter().map(|der| X509::from_der(der)))?,
            Roots::File(path) => {
                let roots = step("cluster root", X509::stack_from_pem(&read(path)?))?;
                trust(&mut builder, roots.into_iter().map(Ok))?;
            }
        }
        if let Some((certificate, key)) = &self.certificate {
            present(&mut builder, &certificate.read()?, &key.read()?)?;
        }
        builder.set_verify(if self.verify {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        });
        Ok(builder)
    }
}

fn trust(
    builder: &mut SslConnectorBuilder,
    roots: impl Iterator<Item = Result<X509, ErrorStack>>,
) -> Result<(), TlsError> {
    let mut store = step("trust store", X509StoreBuilder::new())?;
    let mut any = false;
    for root in roots {
        step("cluster root", root.and_then(|root| store.add_cert(root)))?;
        any = true;
    }
    builder.set_cert_store_builder(store);
    if any {
        Ok(())
    } else {
        Err(TlsError::Empty("the cluster's root"))
    }
}

fn present(
    builder: &mut SslConnectorBuilder,
    certificate: &[u8],
    key: &[u8],
) -> Result<(), TlsError> {
    let chain = step("client certificate", X509::stack_from_pem(certificate))?;
    let key = step("client key", PKey::private_key_from_pem(key))?;
    let (leaf, above) = chain
        .split_first()
        .ok_or(TlsError::Empty("the client certificate"))?;
    step("client certificate", builder.set_certificate(leaf))?;
    for certificate in above {
        step(
            "client certificate",
            builder.add_extra_chain_cert(certificate.clone()),
        )?;
    }
    step("client key", builder.set_private_key(&key))
}

/// Expect this name, or this address, in the server's certificate.
fn expect(ssl: &mut SslRef, name: &str) -> Result<(), ErrorStack> {
    match name.parse() {
        Ok(ip) => ssl.param_mut().set_ip(ip),
        Err(_) => {
            ssl.set_hostname(name)?;
            ssl.param_mut().set_host(name)
        }
    }
}
