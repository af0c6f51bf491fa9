//! From a kubeconfig or a pod's service account to a client.
//!
//! Invariant: no request waits for ever on a server that has gone: dialling has a deadline, and a connection on which
//! nothing is acknowledged is closed by the kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client as HttpClient};
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::option_layer;
use tower::{BoxError, Service as _, ServiceExt as _};

use crate::error::ConnectError;
use crate::tls::Tls;

/// For the TCP connection and the TLS handshake together.
const DIAL: Duration = Duration::from_secs(10);
/// An idle connection is asked after this time whether its other end lives.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Sent data that nobody acknowledges for this long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Where the credentials are.
#[derive(Debug, Clone)]
pub enum Access {
    /// The service account of the pod that we run in.
    InCluster,
    /// This file, with its current context.
    Kubeconfig(PathBuf),
    /// `$KUBECONFIG`, `~/.kube/config`, or else the pod's service account.
    Infer,
}

impl Access {
    /// What a `--kubeconfig` says; without one, what kubectl would take.
    #[must_use]
    pub fn of(kubeconfig: Option<&Path>) -> Self {
        kubeconfig.map_or(Self::Infer, |path| Self::Kubeconfig(path.to_owned()))
    }
}

/// A client. Files are read, but nothing is dialled before the first request.
pub async fn connect(access: &Access) -> Result<Client, ConnectError> {
    client(&config(access).await?)
}

async fn config(access: &Access) -> Result<Config, ConnectError> {
    Ok(match access {
        Access::InCluster => Config::incluster()?,
        Access::Infer => Config::infer().await?,
        Access::Kubeconfig(path) => {
            let failed = |source: KubeconfigError| ConnectError::Kubeconfig {
                path: path.clone(),
                source,
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(failed)?
        }
    })
}

pub(crate) fn client(config: &Config) -> Result<Client, ConnectError> {
    if let Some(proxy) = &config.proxy_url {
        return Err(ConnectError::Proxy(proxy.to_string()));
    }
    if config.accept_invalid_certs {
        tracing::warn!(server = %config.cluster_url, "the kubeconfig says not to verify the API server");
    }
    let credentials = |error| ConnectError::Credentials(Box::new(error));
    let tls = Arc::new(Tls::new(config)?);
    // What is wrong with a file is said now, not at the first request.
    tls.connector(http())?;
    let connector = tower::service_fn(move |uri: Uri| {
        let tls = Arc::clone(&tls);
        Box::pin(async move {
            let mut connector = tls.connector(http())?;
            let dial = connector.ready().await?.call(uri);
            tokio::time::timeout(DIAL, dial).await?
        })
    });
    let http = pool().build::<_, Body>(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = http.map_err(BoxError::from);
    let auth = config.auth_layer().map_err(credentials)?;
    let headers = config.extra_headers_layer().map_err(credentials)?;
    let client = ClientBuilder::new(service, config.default_namespace.clone())
        .with_layer(&headers)
        .with_layer(&option_layer(auth))
        .with_layer(&option_layer(retry))
        .with_layer(&config.base_uri_layer());
    Ok(client.build())
}

fn pool() -> Builder {
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(8);
    builder
}

fn http() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(DIAL));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE));
    http.set_keepalive_retries(Some(2));
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    http
}
