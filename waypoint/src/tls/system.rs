//! The certificate authorities that the system trusts: those of the image.
//!
//! Invariant: the bundle is read once, when it is first needed. A system without one trusts nobody.

use std::path::Path;
use std::sync::LazyLock;

use boring::x509::X509;

/// Where distributions have the bundle; the first that is there counts.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The authorities, or why there are none.
pub(super) fn authorities() -> Result<&'static [X509], String> {
    static READ: LazyLock<Result<Vec<X509>, String>> = LazyLock::new(|| {
        let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
        let path = found.ok_or_else(|| format!("the system has none of {}", BUNDLES.join(", ")))?;
        read(path)
    });
    READ.as_deref().map_err(String::clone)
}

fn read(path: &Path) -> Result<Vec<X509>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    let authorities = X509::stack_from_pem(&text).map_err(|error| wrong(&error))?;
    if authorities.is_empty() {
        return Err(wrong(&"holds no certificate"));
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::certificate::testing::ecdsa;

    #[test]
    fn a_bundle_has_a_certificate_at_least() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bundle");
        assert!(read(&file).is_err());
        std::fs::write(&file, "").unwrap();
        assert!(read(&file).unwrap_err().ends_with("holds no certificate"));
        std::fs::write(&file, ecdsa(&["a"]).chain).unwrap();
        assert_eq!(read(&file).unwrap().len(), 1);
    }
}
