//! Certificates for Envoy's mutual TLS: one authority and one certificate, for the time of a run.

use anyhow::Result;
use culvert_lab::{process, programs};
use std::path::Path;

/// Writes `ca.pem`, `cert.pem` and `key.pem`.
pub(super) fn write(dir: &Path) -> Result<()> {
    programs::require(&[("openssl", "openssl")])?;
    let dir = dir.display();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let script = format!(
        "cd {dir}
         openssl req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
         openssl req {key} -subj /CN=proxy -keyout key.pem -out proxy.csr
         openssl x509 -req -in proxy.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem"
    );
    process::run("sh", &["-ec", &script])?;
    Ok(())
}
