//! Why there is no client: each names the file or the setting at fault.

use std::path::PathBuf;

/// Why the API server can't be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is missing, unreadable or incomplete.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: kube::config::KubeconfigError,
    },
    /// The process runs in no pod, or its service account is not mounted.
    #[error("in-cluster access: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    /// Neither a kubeconfig nor a service account was found.
    #[error("no access to a cluster: {0}")]
    Infer(#[from] kube::config::InferConfigError),
    /// The kubeconfig wants a proxy.
    #[error("the kubeconfig's proxy-url {0} can't be used: only direct connections can")]
    Proxy(String),
    /// A credential can't be used.
    #[error("credentials for the API server: {0}")]
    Credentials(#[source] Box<kube::Error>),
    /// A root, certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why no TLS session to the API server can be begun.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the kubeconfig or the service account can't be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Inline data that is no base64.
    #[error("{0} is no base64")]
    Base64(&'static str),
    /// One half of a key pair.
    #[error("a client certificate needs its key: both or neither")]
    Half,
    /// A file without a certificate.
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    /// What BoringSSL said.
    #[error("{what}: {source}")]
    Boring {
        /// Which step.
        what: &'static str,
        /// The reason.
        source: boring::error::ErrorStack,
    },
}
