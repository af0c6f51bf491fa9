//! Pipes through which the kernel moves a bulk transfer's bytes from one socket to another, without a copy here.
//!
//! Invariants: a pipe that is given back is empty; a thread keeps few that nobody uses.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// Bytes of a pipe: what is read in one call at most. Larger ones would soon use up what one user may have.
const SIZE: usize = 256 * 1024;
/// Empty pipes that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    filled: usize,
}

impl Pipe {
    /// An empty pipe.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(pipe) = FREE.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Where the kernel allows no more, a smaller one moves the same bytes in more calls.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(SIZE as i32));
        Ok(Self {
            read,
            write,
            filled: 0,
        })
    }

    /// To whoever needs one next. One that still holds bytes is closed with them.
    pub(super) fn give_back(self) {
        if self.filled == 0 {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(self);
                }
            });
        }
    }

    /// Bytes in it.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Takes what a socket has into the empty pipe; 0 at the socket's end.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let n = splice(from, None, &self.write, None, SIZE, flags())?;
        self.filled += n;
        Ok(n)
    }

    /// Gives a socket what it takes of the bytes in it.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let n = splice(&self.read, None, to, None, self.filled, flags())?;
        self.filled = self.filled.saturating_sub(n);
        Ok(n)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}
