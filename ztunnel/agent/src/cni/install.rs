//! Keeps our CNI plugin on the node: its program first, then its entry, and the entry again whenever somebody takes it
//! out.
//!
//! Invariant: the entry is never there without the program; a program is there whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_runtime::drain::Drain;
use culvert_runtime::ready::ReadyTask;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::conflist::PLUGIN;
use super::directory::{self, DirectoryError};
use crate::metrics;

/// Changes of one writer come together.
const SETTLE: Duration = Duration::from_millis(20);
/// Between two repairs, so that two who both want the last word do not keep the node busy.
const PAUSE: Duration = Duration::from_millis(500);
/// Where a change is not told, as after a remount.
const LOOK: Duration = Duration::from_secs(5);

/// Where the plugin goes.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The program to install.
    pub program: PathBuf,
    /// The node's CNI plugins.
    pub bin_dir: PathBuf,
    /// The node's CNI configuration.
    pub conf_dir: PathBuf,
    /// The run directory, for the entry.
    pub run_dir: PathBuf,
}

impl Plugin {
    /// Keep it installed until the drain starts; then it stays. `ready` is done when it is in force.
    pub async fn keep(self, ready: ReadyTask, drain: Drain) {
        let mut ready = Some(ready);
        let (changes, mut changed) = mpsc::channel(1);
        let mut watcher = None;
        let mut said = String::new();
        let mut repaired = false;
        loop {
            if watcher.is_none() {
                watcher = watch(&self.conf_dir, changes.clone());
            }
            match self.install() {
                Ok(None) => {
                    said.clear();
                    drop(ready.take());
                }
                Ok(Some(path)) => {
                    let file = path.display();
                    if repaired {
                        metrics::cni_repair();
                        tracing::warn!(%file, "the CNI plugin was taken out, or another configuration came first; put back");
                    } else {
                        tracing::info!(%file, "the CNI plugin is installed");
                    }
                    repaired = true;
                    said.clear();
                    drop(ready.take());
                }
                Err(error) => {
                    let error = error.to_string();
                    if error != said {
                        tracing::warn!(
                            error,
                            "the CNI plugin is not in force: new pods are captured only after they start"
                        );
                        metrics::failure("cni");
                        said = error;
                    }
                }
            }
            tokio::select! {
                () = drain.signaled() => return,
                // `changes` is ours: it does not end.
                _ = changed.recv() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(LOOK) => {
                    // The directory may be another by now.
                    watcher = None;
                    continue;
                }
            }
            while changed.try_recv().is_ok() {}
            if repaired {
                tokio::select! {
                    () = drain.signaled() => return,
                    () = tokio::time::sleep(if said.is_empty() { SETTLE } else { PAUSE }) => {}
                }
            }
        }
    }

    /// Install what is missing; the file that was changed, if one was.
    pub fn install(&self) -> Result<Option<PathBuf>, DirectoryError> {
        self.copy().map_err(|source| DirectoryError::File {
            path: self.bin_dir.join(PLUGIN),
            source,
        })?;
        directory::ensure(&self.conf_dir, &self.run_dir.to_string_lossy())
    }

    /// Take it away.
    pub fn remove(conf_dir: &Path, bin_dir: Option<&Path>) -> Result<(), DirectoryError> {
        directory::withdraw(conf_dir)?;
        let Some(bin_dir) = bin_dir else {
            return Ok(());
        };
        for path in [bin_dir.join(PLUGIN), temporary(bin_dir)] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DirectoryError::File { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn copy(&self) -> io::Result<()> {
        let wanted = fs::read(&self.program).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.program.display()))
        })?;
        let installed = self.bin_dir.join(PLUGIN);
        let is_executable = || {
            fs::metadata(&installed).is_ok_and(|file| file.permissions().mode() & 0o111 == 0o111)
        };
        if fs::read(&installed).is_ok_and(|there| there == wanted) && is_executable() {
            return Ok(());
        }
        let new = temporary(&self.bin_dir);
        // A runtime may be executing the old one, which cannot be written then.
        drop(fs::remove_file(&new));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&new)?;
        file.write_all(&wanted)?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &installed)?;
        File::open(&self.bin_dir)?.sync_all()
    }
}

fn temporary(bin_dir: &Path) -> PathBuf {
    bin_dir.join(".culvert-cni.tmp")
}

/// Told of changes in `directory`; `None` while it cannot be watched.
fn watch(directory: &Path, changes: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full: it is told already.
            let _told = changes.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::conflist;
    use culvert_runtime::drain;
    use culvert_runtime::ready::Ready;
    use culvert_runtime::task;

    const LIST: &str = "{\"name\":\"n\",\"plugins\":[{\"type\":\"bridge\"}]}\n";

    fn plugin(dir: &tempfile::TempDir) -> Plugin {
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let program = dir.path().join("culvert-cni");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let (bin_dir, conf_dir, run_dir) = (at("bin"), at("conf"), at("run"));
        Plugin {
            program,
            bin_dir,
            conf_dir,
            run_dir,
        }
    }

    #[test]
    fn the_program_is_installed_upgraded_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = plugin(&dir);
        fs::write(plugin.conf_dir.join("10-a.conflist"), LIST).unwrap();
        assert!(plugin.install().unwrap().is_some());
        assert!(plugin.install().unwrap().is_none());
        fs::write(&plugin.program, "#!/bin/bash\n").unwrap();
        fs::write(temporary(&plugin.bin_dir), "ha").unwrap();
        assert!(plugin.install().unwrap().is_none());
        let installed = plugin.bin_dir.join("culvert-cni");
        assert_eq!(fs::read(&installed).unwrap(), b"#!/bin/bash\n");
        assert_eq!(
            fs::metadata(&installed).unwrap().permissions().mode() & 0o777,
            0o755
        );
        Plugin::remove(&plugin.conf_dir, Some(&plugin.bin_dir)).unwrap();
        Plugin::remove(&plugin.conf_dir, Some(&plugin.bin_dir)).unwrap();
        assert_eq!(fs::read_dir(&plugin.bin_dir).unwrap().count(), 0);
        assert_eq!(
            fs::read_to_string(plugin.conf_dir.join("10-a.conflist")).unwrap(),
            LIST
        );
    }

    #[test]
    fn no_entry_without_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = plugin(&dir);
        fs::write(plugin.conf_dir.join("10-a.conflist"), LIST).unwrap();
        fs::remove_file(&plugin.program).unwrap();
        assert!(plugin.install().is_err());
        assert_eq!(
            fs::read_to_string(plugin.conf_dir.join("10-a.conflist")).unwrap(),
            LIST
        );
    }

    #[tokio::test]
    async fn an_entry_that_is_taken_out_comes_back_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = plugin(&dir);
        let conf = plugin.conf_dir.clone();
        let (trigger, drain) = drain::channel();
        let ready = Ready::new();
        let kept = task::spawn("test_keep", plugin.keep(ready.task("CNI plugin"), drain));
        let in_force = async |name: &str| {
            let path = conf.join(name);
            let came = async {
                while !fs::read_to_string(&path).is_ok_and(|text| conflist::has_ours(&text)) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(3), came)
                .await
                .expect("it is put back");
        };
        assert_eq!(ready.pending(), ["CNI plugin"], "no network plugin yet");
        fs::write(conf.join("20-b.conflist"), LIST).unwrap();
        in_force("20-b.conflist").await;
        while !ready.pending().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..3 {
            fs::write(conf.join("20-b.conflist"), LIST).unwrap();
            in_force("20-b.conflist").await;
        }
        fs::write(conf.join(".x"), LIST).unwrap();
        fs::rename(conf.join(".x"), conf.join("10-a.conflist")).unwrap();
        in_force("10-a.conflist").await;
        trigger.start();
        kept.await.unwrap();
    }
}
