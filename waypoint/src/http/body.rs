//! Bodies of requests on their way to a backend: none, streamed as they come, or kept for another try.
//!
//! Invariants: a body is read from the client only as fast as the backend takes it. What is kept for another try or a
//! mirror is at most [`REPLAY_LIMIT`] bytes; past that the body goes on and can't be sent again.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::headers;
use super::silence::{FromClient, Read};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Most bytes of a request's body that are kept.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// Why a request's body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client's bytes are malformed, or it went away.
    #[error("the client's body ended early")]
    Client,
    /// The client was silent for too long.
    #[error("the client's body did not go on")]
    Silent,
    /// Another try has taken the body over.
    #[error("the body belongs to another try")]
    TakenOver,
}

/// What others may know of a body while it is sent.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes taken from the client.
    pub bytes: Cell<u64>,
    /// The client's side failed.
    pub failed: Cell<bool>,
    /// By its silence.
    pub silent: Cell<bool>,
    /// All of it was handed over, in the current try.
    pub done: Cell<bool>,
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Stream(FromClient, Rc<Progress>),
    Replay { kept: Rc<Kept>, reader: Reader },
    Full(Option<Bytes>, Option<HeaderMap>),
}

/// How far a try has read a kept body.
#[derive(Debug)]
struct Reader {
    turn: u32,
    /// The next of the kept chunks.
    chunk: usize,
    bytes: u64,
    trailers_read: bool,
}

/// A body that is kept while it is read.
#[derive(Debug)]
pub struct Kept {
    state: RefCell<State>,
    progress: Rc<Progress>,
}

#[derive(Debug)]
struct State {
    source: FromClient,
    chunks: Vec<Bytes>,
    length: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    overflow: bool,
    /// Which try may read.
    turn: u32,
    /// Waits for the end, to mirror it.
    listener: Option<Waker>,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// The client's body as it comes.
    pub fn stream(source: FromClient, progress: Rc<Progress>) -> Self {
        Self(Kind::Stream(source, progress))
    }
}

impl Kept {
    /// Keeps `source` as it is read.
    pub fn new(source: FromClient, progress: Rc<Progress>) -> Rc<Self> {
        let state = State {
            source,
            chunks: Vec::new(),
            length: 0,
            trailers: None,
            ended: false,
            overflow: false,
            turn: 0,
            listener: None,
        };
        Rc::new(Self {
            state: RefCell::new(state),
            progress,
        })
    }

    /// The body from its start, for one more try; earlier ones can't read on. None if too much has passed.
    pub fn body(self: &Rc<Self>) -> Option<RequestBody> {
        let mut state = self.state.borrow_mut();
        if state.overflow {
            return None;
        }
        state.turn += 1;
        self.progress.done.set(false);
        let reader = Reader {
            turn: state.turn,
            chunk: 0,
            bytes: 0,
            trailers_read: false,
        };
        Some(RequestBody(Kind::Replay {
            kept: Rc::clone(self),
            reader,
        }))
    }

    /// Whether it can be sent from its start.
    pub fn can_repeat(&self) -> bool {
        !self.state.borrow().overflow
    }

    /// The whole body once it was read; none if it was too long or ended early.
    pub async fn whole(self: Rc<Self>) -> Option<RequestBody> {
        // Held weakly between polls: when the request has ended, nobody reads the body any more.
        let weak = Rc::downgrade(&self);
        drop(self);
        std::future::poll_fn(move |cx| {
            let Some(kept) = weak.upgrade() else {
                return Poll::Ready(None);
            };
            let mut state = kept.state.borrow_mut();
            if state.overflow || kept.progress.failed.get() {
                return Poll::Ready(None);
            }
            if !state.ended {
                state.listener = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let body = Bytes::from(state.chunks.concat());
            Poll::Ready(Some(RequestBody(Kind::Full(
                Some(body),
                state.trailers.clone(),
            ))))
        })
        .await
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        if state.turn != reader.turn {
            return Poll::Ready(Some(Err(BodyError::TakenOver)));
        }
        let frame = if let Some(chunk) = state.chunks.get(reader.chunk) {
            Some(Ok(Frame::data(chunk.clone())))
        } else if state.ended {
            let trailers = state.trailers.clone().filter(|_| !reader.trailers_read);
            trailers.map(|trailers| Ok(Frame::trailers(trailers)))
        } else {
            let frame = ready!(poll_client(&mut state.source, cx, &self.progress));
            state.keep(frame.as_ref());
            frame
        };
        if let Some(Ok(frame)) = &frame {
            reader.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            reader.chunk = if state.overflow {
                0
            } else {
                reader.chunk + usize::from(frame.is_data())
            };
            reader.trailers_read |= frame.is_trailers();
        }
        if state.is_read(reader) {
            self.progress.done.set(true);
        }
        Poll::Ready(frame)
    }
}

impl State {
    /// Takes note of what came from the client.
    fn keep(&mut self, frame: Option<&Result<Frame<Bytes>, BodyError>>) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep_data(data);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(trailers.clone());
                }
                self.ended = frame.is_trailers() || self.source.is_end_stream();
            }
            Some(Err(_)) => self.wake(),
            None => self.ended = true,
        }
        if self.ended {
            self.wake();
        }
    }

    fn keep_data(&mut self, data: &Bytes) {
        self.length += data.len();
        if self.length <= REPLAY_LIMIT {
            self.chunks.push(data.clone());
        } else if !self.overflow {
            self.overflow = true;
            self.chunks = Vec::new();
            self.wake();
        }
    }

    fn is_read(&self, reader: &Reader) -> bool {
        self.ended
            && reader.chunk >= self.chunks.len()
            && (reader.trailers_read || self.trailers.is_none())
    }

    fn wake(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.wake();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.state.get_mut().wake();
    }
}

/// Reads on from the client, keeping account.
fn poll_client(
    source: &mut FromClient,
    cx: &mut Context<'_>,
    progress: &Progress,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let frame = match ready!(source.poll_read(cx)) {
        Read::Frame(frame) => frame,
        Read::Silent => {
            progress.failed.set(true);
            progress.silent.set(true);
            return Poll::Ready(Some(Err(BodyError::Silent)));
        }
    };
    Poll::Ready(match frame {
        None => None,
        Some(Err(error)) => {
            tracing::debug!(%error, "request body");
            progress.failed.set(true);
            Some(Err(BodyError::Client))
        }
        Some(Ok(frame)) => {
            if let Some(data) = frame.data_ref() {
                progress.bytes.set(progress.bytes.get() + data.len() as u64);
                return Poll::Ready(Some(Ok(frame)));
            }
            frame.into_trailers().ok().map(|mut trailers| {
                headers::strip_trailers(&mut trailers);
                Ok(Frame::trailers(trailers))
            })
        }
    })
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Stream(source, progress) => {
                let frame = ready!(poll_client(source, cx, progress));
                if frame.is_none() || source.is_end_stream() {
                    progress.done.set(true);
                }
                Poll::Ready(frame)
            }
            Kind::Replay { kept, reader } => kept.poll_read(cx, reader),
            Kind::Full(data, trailers) => {
                let data = data
                    .take()
                    .filter(|data| !data.is_empty())
                    .map(|data| Ok(Frame::data(data)));
                Poll::Ready(data.or_else(|| {
                    trailers
                        .take()
                        .map(|trailers| Ok(Frame::trailers(trailers)))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Stream(source, _) => source.is_end_stream(),
            Kind::Replay { kept, reader } => kept.state.borrow().is_read(reader),
            Kind::Full(data, trailers) => {
                data.as_ref().is_none_or(Bytes::is_empty) && trailers.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Stream(source, _) => source.size_hint(),
            Kind::Replay { kept, reader } => {
                let state = kept.state.borrow();
                let whole = state
                    .source
                    .size_hint()
                    .exact()
                    .map(|rest| rest + state.length as u64);
                whole.map_or_else(SizeHint::default, |whole| {
                    SizeHint::with_exact(whole.saturating_sub(reader.bytes))
                })
            }
            Kind::Full(data, _) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
        }
    }
}
