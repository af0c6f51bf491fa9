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
use culvert_runtime::ready::{Ready, ReadyTask};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::conflist::PLUGIN;
use super::directory::{self, DirectoryError};
use super::pace::Pace;
use crate::metrics;

/// Changes of one writer come together.
const SETTLE: Duration = Duration::from_millis(20);
/// After a repair that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// What readiness waits for while somebody else wants the last word.
pub const CONTENDED: &str = "CNI plugin: another program takes it out again and again";
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
    /// Keep it installed until the drain starts; then it stays. `installed` is done when it is in force; `ready` is told
    /// while somebody else takes it out again and again.
    pub async fn keep(self, ready: Ready, installed: ReadyTask, drain: Drain) {
        let (changes, mut changed) = mpsc::channel(1);
        let mut watcher = None;
        let mut account = Account::new(ready, installed);
        loop {
            if watcher.is_none() {
                watcher = watch(&self.conf_dir, changes.clone());
            }
            account.note(self.install());
            tokio::select! {
                () = drain.signaled() => return,
                // `changes` is ours: it does not end.
                _ = changed.recv() => tokio::time::sleep(SETTLE).await,
                // The directory may be another by now.
                () = tokio::time::sleep(LOOK) => watcher = None,
            }
            tokio::select! {
                () = drain.signaled() => return,
                () = tokio::time::sleep(account.pause()) => {}
            }
            while changed.try_recv().is_ok() {}
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

/// What came of it, for people.
#[derive(Debug)]
struct Account {
    ready: Ready,
    installed: Option<ReadyTask>,
    /// It was in force once.
    was: bool,
    /// The error that was said last.
    said: String,
    pace: Pace,
    contended: Option<ReadyTask>,
}

impl Account {
    fn new(ready: Ready, installed: ReadyTask) -> Self {
        Self {
            ready,
            installed: Some(installed),
            was: false,
            said: String::new(),
            pace: Pace::default(),
            contended: None,
        }
    }

    fn note(&mut self, result: Result<Option<PathBuf>, DirectoryError>) {
        match result {
            Ok(written) => {
                if let Some(path) = written {
                    self.wrote(&path);
                }
                self.said.clear();
                drop(self.installed.take());
            }
            Err(error) => {
                let error = error.to_string();
                if error != self.said {
                    tracing::warn!(
                        error,
                        "the CNI plugin is not in force: new pods are captured only after they start"
                    );
                    metrics::failure("cni");
                    self.said = error;
                }
            }
        }
        if !self.pace.is_contended(Instant::now()) && self.contended.take().is_some() {
            metrics::cni_contended(false);
            tracing::info!("nobody takes the CNI plugin out any more");
        }
    }

    fn wrote(&mut self, path: &Path) {
        let file = path.display();
        if !std::mem::replace(&mut self.was, true) {
            tracing::info!(%file, "the CNI plugin is installed");
            return;
        }
        metrics::cni_repair();
        self.pace.repaired(Instant::now());
        if !self.pace.is_contended(Instant::now()) {
            tracing::warn!(%file, "the CNI plugin was taken out, or another configuration came first; put back");
        } else if self.contended.is_none() {
            // Said once for each fight.
            self.contended = Some(self.ready.task(CONTENDED));
            metrics::cni_contended(true);
            tracing::error!(
                %file,
                "another program takes the CNI plugin out again and again: between its turn and ours new pods start \
                 uncaptured; let it leave the entry alone (Cilium: cni.exclusive=false), or stop the other agent"
            );
        }
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        match (self.was, self.said.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, true) => self.pace.pause(now),
            (true, false) => PAUSE.max(self.pace.pause(now)),
        }
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
        let kept = task::spawn(
            "test_keep",
            plugin.keep(ready.clone(), ready.task("CNI plugin"), drain),
        );
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

    /// Two who want the last word: the agent gives way to ever longer pauses, says so, and has it in the end.
    #[tokio::test]
    async fn a_program_that_rewrites_the_configuration_does_not_keep_the_node_busy() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = plugin(&dir);
        let path = plugin.conf_dir.join("05-cilium.conflist");
        fs::write(&path, LIST).unwrap();
        let (trigger, drain) = drain::channel();
        let ready = Ready::new();
        let installed = ready.task("CNI plugin");
        let kept = task::spawn("test_keep", plugin.keep(ready.clone(), installed, drain));
        // As an exclusive network plugin does; each of its turns is one that it had to take.
        let script = "i=0; while [ $i -lt 2000 ]; do i=$((i + 1))
            if grep -q culvert-cni \"$1\"; then cp \"$2\" \"$1.new\"; mv \"$1.new\" \"$1\"; echo >> \"$3\"; fi
            sleep 0.005; done";
        let (theirs, turns) = (dir.path().join("theirs"), dir.path().join("turns"));
        fs::write(&theirs, LIST).unwrap();
        fs::write(&turns, "").unwrap();
        let mut other = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&path, &theirs, &turns])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let taken = fs::read_to_string(&turns).unwrap().lines().count();
        other.kill().unwrap();
        let _ended = other.wait().unwrap();
        // The first and five at once, then after 0.5, 1 and 2 s; without a backoff some 80.
        assert!((6..=10).contains(&taken), "{taken} turns");
        assert_eq!(ready.pending(), [CONTENDED]);
        let ours = async {
            while !fs::read_to_string(&path).is_ok_and(|text| conflist::has_ours(&text)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(8), ours).await;
        came.expect("the other has ended, so ours is the last word");
        trigger.start();
        kept.await.unwrap();
        assert!(ready.pending().is_empty());
    }
}
