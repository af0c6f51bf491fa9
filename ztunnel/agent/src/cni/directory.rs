//! The node's CNI configuration directory: our entry in the file that the runtime uses.
//!
//! A runtime takes the first file by name that ends in `.conf`, `.conflist` or `.json`. A single plugin's configuration
//! is not touched; a list made of it stands beside it under a name that comes first.
//!
//! Invariant: a reader sees the old file or the new one; a file that somebody rewrote while we edited it is not
//! overwritten with what it was.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::conflist::{self, ConfError};

/// What the names of files that we made end in.
const MADE: &str = "-culvert.conflist";

/// Why our plugin is not in force.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or the directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is none.
    #[error("{path}: {source}")]
    Conf {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ConfError,
    },
    /// No network plugin is installed yet.
    #[error("{0}: no CNI configuration yet")]
    Empty(PathBuf),
    /// Somebody else writes at the same time.
    #[error("{0}: changed while it was edited")]
    Changed(PathBuf),
}

/// Put our plugin in force; the name of the file that was written, if one was.
pub fn ensure(directory: &Path, run_dir: &str) -> Result<Option<PathBuf>, DirectoryError> {
    tidy(directory)?;
    let mut wrong = None;
    for path in files(directory)? {
        let text = read(&path)?;
        let made = is_made(&path, &text);
        let edited = match (made, extension(&path)) {
            // Made of another file, which may have changed.
            (true, _) => match source(&path) {
                Some(source) => conflist::convert(&read(&source)?, run_dir)
                    .map(|list| (list != text).then_some(list)),
                None => {
                    remove(&path)?;
                    continue;
                }
            },
            (false, "conflist") => conflist::insert(&text, run_dir),
            (false, _) => match conflist::convert(&text, run_dir) {
                Ok(list) => {
                    let made = made_of(&path);
                    write(&made, &list, None, mode(&path)?)?;
                    return Ok(Some(made));
                }
                Err(error) => Err(error),
            },
        };
        match edited {
            Ok(Some(edited)) => {
                write(&path, &edited, Some(&text), mode(&path)?)?;
                return Ok(Some(path));
            }
            Ok(None) => return Ok(None),
            // The runtime does not take it either, or it is being written.
            Err(source) => wrong = wrong.or(Some(DirectoryError::Conf { path, source })),
        }
    }
    Err(wrong.unwrap_or_else(|| DirectoryError::Empty(directory.to_owned())))
}

/// Take our plugin out of every file.
pub fn withdraw(directory: &Path) -> Result<(), DirectoryError> {
    tidy(directory)?;
    for path in files(directory)? {
        let text = read(&path)?;
        if is_made(&path, &text) {
            remove(&path)?;
            continue;
        }
        if let Ok(Some(edited)) = conflist::remove(&text) {
            write(&path, &edited, Some(&text), mode(&path)?)?;
        }
    }
    Ok(())
}

/// The files that a runtime looks at, in its order.
fn files(directory: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let read = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(failed(directory))?,
    };
    let mut files = Vec::new();
    for entry in read {
        let path = entry.map_err(failed(directory))?.path();
        if ["conf", "conflist", "json"].contains(&extension(&path)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(files)
}

/// Remove what an agent left that was killed while it wrote.
fn tidy(directory: &Path) -> Result<(), DirectoryError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".culvert-") && name.ends_with(".tmp") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(OsStr::to_str).unwrap_or_default()
}

fn is_made(path: &Path, text: &str) -> bool {
    path.to_string_lossy().ends_with(MADE) && conflist::has_ours(text)
}

/// A name that comes right before `path`: `-` comes before `.`.
fn made_of(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}{MADE}"))
}

/// What a file of ours was made of.
fn source(made: &Path) -> Option<PathBuf> {
    let name = made.file_name()?.to_string_lossy();
    let stem = name.strip_suffix(MADE)?;
    let named = |extension| made.with_file_name(format!("{stem}.{extension}"));
    ["conf", "json"]
        .map(named)
        .into_iter()
        .find(|path| path.is_file())
}

/// Write a file whole. One that was read as `expected` is only replaced while it is that.
fn write(path: &Path, text: &str, expected: Option<&str>, mode: u32) -> Result<(), DirectoryError> {
    let failed = failed(path);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".culvert-{name}.tmp"));
    let written = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    written().map_err(&failed)?;
    let Some(expected) = expected else {
        fs::rename(&new, path).map_err(&failed)?;
        return sync(directory).map_err(&failed);
    };
    match renameat2(AT_FDCWD, &new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => {
            // What was there is at `new` now.
            let replaced = fs::read(&new).map_err(&failed)?;
            if replaced != expected.as_bytes() {
                fs::rename(&new, path).map_err(&failed)?;
                return Err(DirectoryError::Changed(path.to_owned()));
            }
            fs::remove_file(&new).map_err(&failed)?;
        }
        // A file system that cannot exchange.
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(&new, path).map_err(&failed)?,
        Err(errno) => {
            // The file has gone, say.
            drop(fs::remove_file(&new));
            return Err(failed(errno.into()));
        }
    }
    sync(directory).map_err(&failed)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn read(path: &Path) -> Result<String, DirectoryError> {
    fs::read_to_string(path).map_err(failed(path))
}

fn mode(path: &Path) -> Result<u32, DirectoryError> {
    let metadata = fs::metadata(path).map_err(failed(path))?;
    Ok(metadata.permissions().mode() & 0o7777)
}

fn remove(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DirectoryError + '_ {
    move |source| DirectoryError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "{\"name\":\"n\",\"plugins\":[ {\"type\":\"bridge\"} ]}\n";
    const CONF: &str = "{\"name\":\"n\",\"type\":\"ptp\"}\n";

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn first(directory: &Path) -> String {
        fs::read_to_string(files(directory).unwrap().remove(0)).unwrap()
    }

    #[test]
    fn the_first_list_is_ours_and_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(matches!(ensure(dir, "/r"), Err(DirectoryError::Empty(_))));
        fs::write(dir.join("20-b.conflist"), LIST).unwrap();
        fs::write(dir.join("10-a.conflist"), LIST).unwrap();
        fs::write(dir.join("00-readme.txt"), "x").unwrap();
        fs::write(dir.join("30.json"), "{").unwrap();
        fs::set_permissions(dir.join("10-a.conflist"), Permissions::from_mode(0o640)).unwrap();
        let before = names(dir);
        assert_eq!(ensure(dir, "/r").unwrap(), Some(dir.join("10-a.conflist")));
        assert_eq!(ensure(dir, "/r").unwrap(), None);
        assert!(conflist::has_ours(&first(dir)));
        assert_eq!(fs::read_to_string(dir.join("20-b.conflist")).unwrap(), LIST);
        // Somebody rewrites it, and adds an earlier one.
        fs::write(dir.join("10-a.conflist"), LIST).unwrap();
        assert_eq!(ensure(dir, "/r").unwrap(), Some(dir.join("10-a.conflist")));
        fs::write(dir.join("05-c.conflist"), LIST).unwrap();
        assert_eq!(ensure(dir, "/r").unwrap(), Some(dir.join("05-c.conflist")));
        fs::remove_file(dir.join("05-c.conflist")).unwrap();
        withdraw(dir).unwrap();
        assert_eq!(names(dir), before);
        assert_eq!(first(dir), LIST);
        assert_eq!(mode(&dir.join("10-a.conflist")).unwrap(), 0o640);
    }

    #[test]
    fn a_single_plugin_gets_a_list_before_it_that_follows_it() {
        for name in ["10-a.conf", "10-a.json"] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            fs::write(dir.join(name), CONF).unwrap();
            fs::write(dir.join("10-a-.conf"), CONF).unwrap();
            fs::remove_file(dir.join("10-a-.conf")).unwrap();
            let made = dir.join("10-a-culvert.conflist");
            assert_eq!(ensure(dir, "/r").unwrap(), Some(made.clone()));
            assert_eq!(files(dir).unwrap()[0], made, "it comes first");
            assert_eq!(ensure(dir, "/r").unwrap(), None);
            fs::write(dir.join(name), CONF.replace("ptp", "macvlan")).unwrap();
            assert_eq!(ensure(dir, "/r").unwrap(), Some(made));
            assert!(first(dir).contains("macvlan"));
            withdraw(dir).unwrap();
            assert_eq!(names(dir), [name]);
            // Its source goes: so does what was made of it.
            let _made = ensure(dir, "/r").unwrap();
            fs::remove_file(dir.join(name)).unwrap();
            assert!(matches!(ensure(dir, "/r"), Err(DirectoryError::Empty(_))));
            assert!(names(dir).is_empty());
        }
    }

    #[test]
    fn what_somebody_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("10-a.conflist");
        let theirs = LIST.replace("bridge", "calico");
        fs::write(&path, &theirs).unwrap();
        let error = write(&path, "ours", Some(LIST), 0o644).unwrap_err();
        assert!(matches!(error, DirectoryError::Changed(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
        assert_eq!(names(dir.path()), ["10-a.conflist"]);
        fs::remove_file(&path).unwrap();
        assert!(
            write(&path, "ours", Some(LIST), 0o644).is_err(),
            "it was removed"
        );
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn what_a_killed_agent_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".culvert-10-a.conflist.tmp"), "{\"na").unwrap();
        fs::write(dir.path().join("10-a.conflist"), LIST).unwrap();
        let _written = ensure(dir.path(), "/r").unwrap();
        assert_eq!(names(dir.path()), ["10-a.conflist"]);
    }

    #[test]
    fn half_a_file_is_left_to_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10-a.conflist"), "{\"na").unwrap();
        assert!(matches!(
            ensure(dir.path(), "/r"),
            Err(DirectoryError::Conf { .. })
        ));
        withdraw(dir.path()).unwrap();
        assert_eq!(first(dir.path()), "{\"na");
    }
}
