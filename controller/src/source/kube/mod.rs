//! Objects from the API server: one list and watch for each kind, joined into batches.
//!
//! Invariants: nothing is told before every kind was listed once or is known not to exist; objects are admitted as they
//! are read, so that memory holds one page of a list at most beside what is in force.

mod book;
mod catch_up;
mod health;
mod read;
mod tables;
mod trim;
mod watch;

use std::time::Duration;

use culvert_runtime::drain::Drain;
use culvert_runtime::task;
use kube::Client;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, timeout_at};

pub use book::{Book, Parent, Told};
pub use catch_up::CatchUp;
pub use health::Unreachable;
pub(crate) use read::resource;

use super::{Batch, Seen, Source};
use crate::model::Kind;
use tables::{News, Tables};

/// News that wait to be joined.
const NEWS: usize = 1024;
/// So long nothing may come before a batch is told ...
const QUIET: Duration = Duration::from_millis(10);
/// ... but never longer than this after its first change, nor more than so many changes.
const AT_MOST: (Duration, usize) = (Duration::from_millis(100), 4096);
/// How often it is said what is still waited for.
const SAY: Duration = Duration::from_secs(10);

/// The API server as a source.
#[derive(Debug)]
pub struct Kube {
    news: mpsc::Receiver<News>,
    tables: Tables,
    /// How far somebody wants the kinds to be read.
    goal: channel::Sender<Seen>,
}

impl Kube {
    /// Begin to watch; what is told of objects' status goes into the book.
    #[must_use]
    pub fn begin(client: &Client) -> (Self, Book) {
        let (sender, news) = mpsc::channel(NEWS);
        let book = Book::default();
        let goal = channel::Sender::new(Seen::default());
        macro_rules! follow {
            ($($kind:literal)*) => {
                [$(task::spawn("kube_watch", watch::follow::<$kind>(client.clone(), sender.clone(), goal.subscribe()))),*]
            };
        }
        // One for each of `Kind::ALL`; each ends when the receiver is dropped.
        let tasks =
            follow!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27);
        debug_assert_eq!(tasks.len(), Kind::ALL.len());
        let tables = Tables::new(book.clone());
        (Self { news, tables, goal }, book)
    }

    /// The first batch: all that there is. None when the drain comes first.
    pub async fn first(&mut self, drain: &Drain) -> Option<Batch> {
        let mut say = Instant::now() + SAY;
        loop {
            let waiting = self.tables.incomplete();
            if waiting.is_empty() {
                return Some(self.tables.batch().unwrap_or_default());
            }
            tokio::select! {
                () = drain.signaled() => return None,
                news = self.news.recv() => self.tables.take(news?),
                () = tokio::time::sleep_until(say) => {
                    tracing::warn!(?waiting, "not listed yet");
                    say += SAY;
                }
            }
        }
    }

    /// What makes sure that all was read and taken that there is. What the engine has taken is `taken`.
    #[must_use]
    pub fn catch_up(
        &self,
        client: Client,
        taken: channel::Receiver<Seen>,
        drain: Drain,
    ) -> CatchUp {
        CatchUp::begin(client, self.goal.clone(), taken, drain)
    }

    /// The next batch: what changed. None at the end.
    async fn next(&mut self) -> Option<Batch> {
        loop {
            self.tables.take(self.news.recv().await?);
            let end = Instant::now() + AT_MOST.0;
            while self.tables.waiting() < AT_MOST.1 {
                let until = end.min(Instant::now() + QUIET);
                match timeout_at(until, self.news.recv()).await {
                    Ok(Some(news)) if Instant::now() < end => self.tables.take(news),
                    Ok(Some(news)) => {
                        self.tables.take(news);
                        break;
                    }
                    _ => break,
                }
            }
            if let Some(batch) = self.tables.batch() {
                return Some(batch);
            }
        }
    }
}

impl Source for Kube {
    async fn run(mut self, batches: mpsc::Sender<Batch>, drain: Drain) {
        loop {
            let batch = tokio::select! {
                () = drain.signaled() => return,
                batch = self.next() => batch,
            };
            let Some(batch) = batch else { return };
            if batches.send(batch).await.is_err() {
                return;
            }
        }
    }
}

/// Tells since when the API server is out of reach.
#[must_use]
pub fn health(client: Client, drain: Drain) -> channel::Receiver<Unreachable> {
    let (tell, state) = channel::channel(None);
    task::spawn("kube_health", health::watch(client, tell, drain));
    state
}
