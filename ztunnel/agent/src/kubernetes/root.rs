//! The root that signs the controller's certificate, for ztunnel and for ourselves, as a file in the run directory.
//!
//! Invariant: a file that is there is whole, and stays when the ConfigMap goes: without it nobody could be told of a new
//! one.

use std::path::PathBuf;

use kube::Client;

use super::watch;
use crate::file;

/// The ConfigMap that the controller keeps, its key, and our file.
const MAP: &str = "culvert-ca-root";
const KEY: &str = "root.crt";

/// Keep the file as the ConfigMap has it.
pub(super) async fn keep(client: Client, namespace: String, run_dir: PathBuf) {
    let path = run_dir.join(KEY);
    let put = |map: Option<&k8s_openapi::api::core::v1::ConfigMap>| {
        let Some(root) = map
            .and_then(|map| map.data.as_ref()?.get(KEY))
            .filter(|root| !root.is_empty())
        else {
            tracing::warn!(map = MAP, key = KEY, "no root certificate yet");
            return;
        };
        if let Err(error) = file::put(&path, root.as_bytes(), 0o644) {
            tracing::error!(path = %path.display(), %error, "the root certificate cannot be written");
        }
    };
    watch::config_map(client, &namespace, MAP, put).await;
}
