//! Network namespaces: a handle that keeps one alive, and the synchronous guard that makes sockets in it.
//!
//! Invariant: a thread leaves its own namespace only inside [`Netns::run`], which cannot span an await
//! and aborts the process if the way back fails: a thread in the wrong pod must not run on.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// What identifies a network namespace for as long as a handle to it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the namespace file.
    pub dev: u64,
    /// Inode of the namespace file.
    pub inode: u64,
}

/// An open network namespace; it lives at least as long as its last clone.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    id: NetnsId,
}

impl Netns {
    /// Open the namespace file at `path`, as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Self::from_fd(File::open(path).map_err(named)?.into()).map_err(named)
    }

    /// Take over a descriptor that somebody handed us; refused unless it is a namespace file.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if fstatfs(fd.as_fd())?.filesystem_type() != NSFS_MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a namespace file",
            ));
        }
        let stat = fstat(fd.as_fd())?;
        Ok(Self {
            fd: Arc::new(fd),
            id: NetnsId {
                dev: stat.st_dev,
                inode: stat.st_ino,
            },
        })
    }

    /// The namespace of the calling thread, which is not always that of the process's first thread.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The identity of this namespace.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The descriptor, to hand to another process.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Run `f` with the calling thread in this namespace, and return to where it was. Where that is was looked
    /// up once: nothing else may move a thread that calls this.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        let from = match HERE.with_borrow(Clone::clone) {
            Some(here) => here,
            None => Self::current()?,
        };
        if from.id == self.id {
            return Ok(f());
        }
        setns(self.as_fd(), CloneFlags::CLONE_NEWNET)?;
        HERE.set(Some(self.clone()));
        let _way_back = WayBack(from);
        Ok(f())
    }
}

thread_local! {
    /// The namespace that this thread is in, once it has been in another one: the kernel tells it only by way of
    /// /proc, which costs as much as the two changes.
    static HERE: RefCell<Option<Netns>> = const { RefCell::new(None) };
}

/// Returns the thread to its namespace, also when the closure panics.
struct WayBack(Netns);

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(error) = setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "cannot leave a pod's network namespace, aborting");
            std::process::abort();
        }
        HERE.set(Some(self.0.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        let error = Netns::open("/proc/self/status").unwrap_err();
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
        assert!(Netns::open("/nowhere").is_err());
    }

    /// A new namespace, made by a thread of its own; `None` where the kernel does not let us.
    fn fresh() -> Option<Netns> {
        let made = std::thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).ok()?;
            Some(Netns::current().unwrap())
        });
        made.join().unwrap()
    }

    #[test]
    fn runs_inside_and_returns_even_from_a_panic() {
        let home = Netns::current().unwrap();
        assert_eq!(
            home.run(|| Netns::current().unwrap().id()).unwrap(),
            home.id()
        );
        let Some(other) = fresh() else {
            assert!(
                !nix::unistd::geteuid().is_root(),
                "root must be able to make a namespace"
            );
            return;
        };
        assert_ne!(other.id(), home.id());
        assert_eq!(
            other.run(|| Netns::current().unwrap().id()).unwrap(),
            other.id()
        );
        assert_eq!(Netns::current().unwrap().id(), home.id());
        let panicked = std::panic::catch_unwind(|| other.run(|| panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!(Netns::current().unwrap().id(), home.id());
        let third = fresh().unwrap();
        let nested = other.run(|| {
            let id = |netns: &Netns| netns.run(|| Netns::current().unwrap().id()).unwrap();
            let visited = [id(&third), id(&home), id(&other)];
            assert_eq!(Netns::current().unwrap().id(), other.id());
            visited
        });
        assert_eq!(nested.unwrap(), [third.id(), home.id(), other.id()]);
        assert_eq!(Netns::current().unwrap().id(), home.id());
    }

    #[test]
    fn a_namespace_of_another_kind_is_refused_on_entry() {
        let mounts = Netns::open("/proc/thread-self/ns/mnt").unwrap();
        assert!(mounts.run(|| ()).is_err());
    }
}
