//! What the CNI plugin asks the API with when no agent answers it: otherwise a node without an agent could start no pod
//! at all.
//!
//! Invariant: the token is of a service account that may only get pods and namespaces, and is not bound to the agent's
//! pod, with which it would end just when it is needed; only root reads the file, and ztunnel does not see it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_cni_wire::Credentials;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::file;

/// The service account of the token.
const ACCOUNT: &str = "culvert-cni";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Between two tokens.
const REFRESH: Duration = Duration::from_secs(3 * 3600);
const RETRY: Duration = Duration::from_secs(10);
/// The API server's roots, as every pod has them.
const CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Keep the file fresh.
pub(super) async fn keep(client: Client, namespace: String, run_dir: PathBuf) {
    let mut said = String::new();
    loop {
        let pause = match write(&client, &namespace, &run_dir).await {
            Ok(()) => {
                said.clear();
                REFRESH
            }
            Err(error) => {
                if error != said {
                    tracing::warn!(error, "the CNI plugin has no fresh credentials");
                    said = error;
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn write(client: &Client, namespace: &str, run_dir: &Path) -> Result<(), String> {
    let env = |name: &str| {
        std::env::var(name).map_err(|_| format!("{name} is not set: no pod of the cluster"))
    };
    let (host, port) = (
        env("KUBERNETES_SERVICE_HOST")?,
        env("KUBERNETES_SERVICE_PORT")?,
    );
    let server = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let ca = std::fs::read_to_string(CA).map_err(|error| format!("{CA}: {error}"))?;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let granted = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await;
    let granted = granted
        .map_err(|error| format!("a token of service account {namespace}/{ACCOUNT}: {error}"))?;
    let token = granted.status.and_then(|status| status.token);
    let token = token.ok_or("the API granted an empty token")?;
    let credentials = Credentials { server, ca, token };
    let path = culvert_cni_wire::credentials(run_dir);
    let directory = path.parent().unwrap_or(run_dir);
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(named)?;
    let json = serde_json::to_vec(&credentials).map_err(|error| error.to_string())?;
    file::put(&path, &json, 0o600).map_err(named)
}
