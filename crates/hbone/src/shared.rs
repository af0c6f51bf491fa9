//! What a tunnel's driver, its handles and its streams share. All of it lives on one core.
//!
//! Invariant: whoever changes something that the driver has to see wakes it, once.

use crate::engine::Connection;
use culvert_runtime::cores::Moved;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// A connection and who drives it.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<Inner>>);

struct Inner {
    connection: Connection,
    /// Taken when the driver has been woken.
    driver: Option<Waker>,
    /// The socket takes no more for now: it wakes the driver itself.
    blocked: bool,
    /// Handles by which streams can be opened.
    openers: usize,
    moved: Moved,
    began: Instant,
}

impl Shared {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            connection,
            driver: None,
            blocked: false,
            openers: 0,
            moved: Moved::default(),
            began: Instant::now(),
        })))
    }

    /// For a stream or a handle: `f` may make work for the driver.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Connection) -> R) -> R {
        let mut inner = self.0.borrow_mut();
        let result = f(&mut inner.connection);
        if !inner.blocked && inner.connection.has_work() {
            inner.wake();
        }
        result
    }

    /// For the driver, which looks at everything in its turn anyway.
    pub(crate) fn drive<R>(&self, f: impl FnOnce(&mut Connection) -> R) -> R {
        f(&mut self.0.borrow_mut().connection)
    }

    /// The connection's time, from its start.
    pub(crate) fn now(&self) -> Duration {
        self.0.borrow().began.elapsed()
    }

    /// So many bytes went through the socket.
    pub(crate) fn moved(&self, bytes: usize) {
        self.0.borrow().moved.count(bytes);
    }

    /// Bytes that went through it in a tenth of a second, lately.
    pub(crate) fn moved_lately(&self) -> u64 {
        self.0.borrow().moved.lately()
    }

    /// The driver's turn ends.
    pub(crate) fn rest(&self, blocked: bool, cx: &Context<'_>) {
        let mut inner = self.0.borrow_mut();
        inner.blocked = blocked;
        if !inner
            .driver
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            inner.driver = Some(cx.waker().clone());
        }
    }

    /// One more handle by which streams can be opened.
    pub(crate) fn add_opener(&self) {
        self.0.borrow_mut().openers += 1;
    }

    pub(crate) fn drop_opener(&self) {
        let mut inner = self.0.borrow_mut();
        inner.openers -= 1;
        if inner.openers == 0 {
            inner.wake();
        }
    }

    /// Whether nobody can open streams any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.borrow().openers == 0
    }
}

impl Inner {
    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}
