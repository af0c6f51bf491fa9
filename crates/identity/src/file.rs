//! Files that hold secrets: readable by their owner alone, written whole or not at all.
//!
//! Invariant: a secret is never on disk with a mode other than 0600, and a reader never sees half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Others than the owner can read it, so it may be known already.
    #[error("{path}: mode {mode:o} lets others than its owner in; it must be 0600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new secret could not be made.
    #[error("making a secret: {0}")]
    Make(#[from] boring::error::ErrorStack),
}

/// Reads `path`; when it does not exist, writes what `make` gives there first.
pub(crate) fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, boring::error::ErrorStack>,
) -> Result<Vec<u8>, SecretFileError> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    create(path, &make()?)?;
    // Of two processes that start at once, one wrote the file and both use what is there.
    read(path)?.ok_or_else(|| io_error(path, io::ErrorKind::NotFound.into()))
}

/// The content, or `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, SecretFileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(path, e)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    fs::read(path).map(Some).map_err(|e| io_error(path, e))
}

/// Writes a new file; an existing one is left as it is.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| io_error(dir, e))?;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => File::open(dir)?.sync_all(),
        }
    })();
    let removed = fs::remove_file(&temporary);
    written.and(removed).map_err(|e| io_error(path, e))
}

fn io_error(path: &Path, source: io::Error) -> SecretFileError {
    SecretFileError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_with_mode_0600() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/secret");
        assert_eq!(
            load_or_create(&path, || Ok(b"one".to_vec())).unwrap(),
            b"one"
        );
        assert_eq!(
            load_or_create(&path, || Ok(b"two".to_vec())).unwrap(),
            b"one"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, b"x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            read(&path),
            Err(SecretFileError::Mode { mode: 0o644, .. })
        ));
    }
}
