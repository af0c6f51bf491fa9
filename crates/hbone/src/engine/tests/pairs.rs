//! A client and a server that speak with each other in any order of events: bytes stay exact, windows agree, and at the
//! end nothing is kept.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What happens next. Streams are meant by their place among those that are open.
#[derive(Debug, Clone)]
enum Step {
    Open,
    /// The server answers a request, or refuses it.
    Answer(bool),
    /// One end of a stream writes, reads, ends, resets, or lets go of it.
    Write(bool, usize, usize),
    Read(bool, usize, usize),
    End(bool, usize),
    Reset(bool, usize),
    Release(bool, usize),
    /// At most so many bytes travel.
    Move(bool, usize),
    Ping(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let end = || any::<bool>();
    prop_oneof![
        3 => Just(Step::Open),
        4 => any::<bool>().prop_map(Step::Answer),
        12 => (end(), 0usize..4, prop_oneof![1usize..50, 1usize..200_000]).prop_map(|(e, s, n)| Step::Write(e, s, n)),
        12 => (end(), 0usize..4, 1usize..200_000).prop_map(|(e, s, n)| Step::Read(e, s, n)),
        2 => (end(), 0usize..4).prop_map(|(e, s)| Step::End(e, s)),
        1 => (end(), 0usize..4).prop_map(|(e, s)| Step::Reset(e, s)),
        1 => (end(), 0usize..4).prop_map(|(e, s)| Step::Release(e, s)),
        14 => (end(), prop_oneof![1usize..30, 1usize..300_000]).prop_map(|(e, n)| Step::Move(e, n)),
        1 => end().prop_map(Step::Ping),
    ]
}

/// One end of one stream.
#[derive(Default)]
struct End {
    held: bool,
    sent: usize,
    got: usize,
    ended: bool,
    saw_end: bool,
    broken: bool,
}

struct Pair {
    /// Client and server.
    ends: [Connection; 2],
    streams: BTreeMap<u32, [End; 2]>,
    waiting: Vec<u32>,
}

fn at(id: u32, from: usize, n: usize) -> u8 {
    (n as u32)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(id * 7 + from as u32)
        .to_be_bytes()[1]
}

impl Pair {
    fn new() -> Self {
        let ends = [Role::Client, Role::Server].map(|role| Connection::new(&setup(role)));
        Self {
            ends,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn pick(&self, end: usize, n: usize) -> Option<u32> {
        let held: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, s)| s[end].held)
            .map(|(id, _)| *id)
            .collect();
        held.get(n % held.len().max(1)).copied()
    }

    fn moves(&mut self, from: usize, mut most: usize) {
        while most > 0 {
            let Some(front) = self.ends[from].output() else {
                break;
            };
            let bytes = Bytes::copy_from_slice(&front[..front.len().min(most)]);
            most -= bytes.len();
            self.ends[from].sent(bytes.len());
            self.ends[1 - from]
                .receive(bytes, Duration::ZERO)
                .expect("no violation");
        }
        if self.ends[from].output().is_none() {
            self.ends[from].all_sent();
        }
        while let Some((id, head)) = self.ends[1].take_request() {
            assert!(head.is_connect());
            self.waiting.push(id);
        }
    }

    fn write(&mut self, end: usize, id: u32, n: usize) {
        let stream = &mut self.streams.get_mut(&id).unwrap()[end];
        if stream.ended {
            return;
        }
        let sent = stream.sent;
        let written = self.ends[end].fill(id, n, &mut cx(), |_, to| {
            let n = to.len().min(n);
            for (k, byte) in to[..n].iter_mut().enumerate() {
                *byte = at(id, end, sent + k);
            }
            Poll::Ready(Ok(n))
        });
        match written {
            Poll::Ready(Ok(n)) => stream.sent += n,
            Poll::Ready(Err(_)) => stream.broken = true,
            Poll::Pending => {}
        }
    }

    fn read(&mut self, end: usize, id: u32, n: usize) -> bool {
        let stream = &mut self.streams.get_mut(&id).unwrap()[end];
        match self.ends[end].poll_data(id, &cx()) {
            Poll::Ready(Ok(true)) => {
                let front = self.ends[end].front(id);
                let n = front.len().min(n);
                for (k, byte) in front[..n].iter().enumerate() {
                    assert_eq!(*byte, at(id, 1 - end, stream.got + k), "stream {id}");
                }
                stream.got += n;
                self.ends[end].consume(id, n);
                true
            }
            Poll::Ready(Ok(false)) => {
                stream.saw_end = true;
                false
            }
            Poll::Ready(Err(_)) => {
                stream.broken = true;
                false
            }
            Poll::Pending => false,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open => {
                let opened = self.ends[0].poll_open("a:1", &Fields::default(), &cx());
                if let Poll::Ready(Ok(id)) = opened {
                    let mut ends: [End; 2] = Default::default();
                    ends[0].held = true;
                    self.streams.insert(id, ends);
                }
            }
            Step::Answer(yes) => {
                let Some(id) = self.waiting.pop() else { return };
                let status = if yes { 200 } else { 401 };
                let answered = self.ends[1].answer_with(id, status, &Fields::default(), !yes);
                if yes && answered.is_ok() {
                    self.streams.get_mut(&id).unwrap()[1].held = true;
                } else {
                    self.ends[1].release(id);
                    self.streams.get_mut(&id).unwrap()[1].broken = true;
                }
            }
            Step::Write(end, n, size) => {
                if let Some(id) = self.pick(usize::from(end), n) {
                    self.write(usize::from(end), id, size);
                }
            }
            Step::Read(end, n, size) => {
                if let Some(id) = self.pick(usize::from(end), n) {
                    self.read(usize::from(end), id, size);
                }
            }
            Step::End(end, n) => {
                let end = usize::from(end);
                if let Some(id) = self.pick(end, n) {
                    let ended = self.ends[end].end(id).is_ok();
                    self.streams.get_mut(&id).unwrap()[end].ended |= ended;
                }
            }
            Step::Reset(end, n) => {
                let end = usize::from(end);
                if let Some(id) = self.pick(end, n) {
                    self.ends[end].reset(id, Code::CONNECT_ERROR);
                    self.break_both(id);
                }
            }
            Step::Release(end, n) => {
                let end = usize::from(end);
                if let Some(id) = self.pick(end, n) {
                    self.ends[end].release(id);
                    self.streams.get_mut(&id).unwrap()[end].held = false;
                    self.break_both(id);
                }
            }
            Step::Move(end, n) => self.moves(usize::from(end), n),
            Step::Ping(end) => self.ends[usize::from(end)].ping(),
        }
    }

    fn break_both(&mut self, id: u32) {
        for end in self.streams.get_mut(&id).unwrap() {
            end.broken = true;
        }
    }

    /// Everything that was sent arrives, everything ends.
    fn settle(mut self) {
        while !self.waiting.is_empty() {
            self.step(&Step::Answer(true));
        }
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for _ in 0..100 {
            for end in [0, 1] {
                self.moves(end, usize::MAX);
                while !self.waiting.is_empty() {
                    self.step(&Step::Answer(true));
                }
                for &id in &ids {
                    if self.streams[&id][end].held {
                        while self.read(end, id, usize::MAX) {}
                        if !self.streams[&id][end].ended {
                            self.streams.get_mut(&id).unwrap()[end].ended =
                                self.ends[end].end(id).is_ok();
                        }
                    }
                }
            }
        }
        for (id, [client, server]) in &self.streams {
            if client.broken || server.broken {
                continue;
            }
            assert_eq!(client.sent, server.got, "stream {id}");
            assert_eq!(server.sent, client.got, "stream {id}");
            assert!(client.saw_end && server.saw_end, "stream {id}");
        }
        for end in [0, 1] {
            assert!(self.ends[end].failure().is_none());
            for &id in &ids {
                self.ends[end].release(id);
            }
        }
        for _ in 0..10 {
            self.moves(0, usize::MAX);
            self.moves(1, usize::MAX);
        }
        for (one, other) in [(0, 1), (1, 0)] {
            assert_eq!(self.ends[one].streams_kept(), 0);
            assert_eq!(self.ends[one].open_streams(), 0);
            let (sends, _, _) = self.ends[one].windows();
            let (_, left, unreported) = self.ends[other].windows();
            assert_eq!(sends, i64::from(left), "both see the same window");
            assert_eq!(left + unreported, 400_000, "no byte of it is lost");
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_events(steps in proptest::collection::vec(step(), 1..300)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        pair.settle();
    }

    /// Bytes that are no frames, or frames that make no sense, or both: an error at most.
    #[test]
    fn any_bytes_are_survived(
        server in any::<bool>(),
        frames in proptest::collection::vec((0u8..11, any::<u8>(), 0u32..8, proptest::collection::vec(any::<u8>(), 0..30)), 0..60),
    ) {
        let mut raw = if server { Raw::serving() } else { Raw::client() };
        for (kind, flags, id, payload) in frames {
            if raw.send(kind, flags, id, &payload).is_err() {
                prop_assert!(raw.goaway_code().is_some());
                return Ok(());
            }
            while let Some((id, _)) = raw.connection.take_request() {
                if id % 4 == 1 {
                    let _ = raw.connection.answer_with(id, 200, &Fields::default(), false);
                } else {
                    raw.connection.release(id);
                }
            }
            let _ = raw.write(id, b"some bytes");
            raw.read(id);
        }
    }
}

#[test]
fn many_that_send_much_take_turns_and_one_that_sends_little_does_not_wait() {
    let mut raw = Raw::new(Role::Client);
    raw.send(kind::SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0])
        .unwrap();
    raw.send(kind::WINDOW_UPDATE, 0, 0, &0x7f00_0000u32.to_be_bytes())
        .unwrap();
    let ids: Vec<_> = (0..8).map(|_| raw.open()).collect();
    let block = vec![0; 1 << 20];
    let mut sent = BTreeMap::new();
    for round in 0..200 {
        for n in 0..7 {
            let id = ids[(n + round) % 7];
            while let Poll::Ready(n) = raw.write(id, &block) {
                *sent.entry(id).or_insert(0) += n.unwrap();
            }
        }
        assert!(raw.connection.output_len() <= 256 * 1024 + 64 * 1024);
        if round % 10 == 5 {
            assert!(matches!(raw.write(ids[7], b"small"), Poll::Ready(Ok(5))));
        }
        raw.sent();
    }
    let (least, most) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert!(*least > 1 << 20 && most - least < most / 4, "{sent:?}");
}

#[test]
fn a_turn_that_is_not_used_blocks_nobody() {
    let mut raw = Raw::new(Role::Client);
    raw.send(kind::SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0])
        .unwrap();
    raw.send(kind::WINDOW_UPDATE, 0, 0, &0x7f00_0000u32.to_be_bytes())
        .unwrap();
    let ids: Vec<_> = (0..9).map(|_| raw.open()).collect();
    let block = vec![0; 1 << 20];
    for &id in &ids {
        while raw.write(id, &block).is_ready() {}
    }
    // All but the last stop there for good, as a task does that is dropped.
    let mut turns = 0;
    while raw.write(ids[8], &block).is_pending() {
        raw.sent();
        turns += 1;
        assert!(turns < 10, "it waits for ever");
    }
}

#[test]
fn small_writes_while_the_socket_is_full_become_few_frames() {
    let mut raw = Raw::client();
    let other = raw.open();
    raw.answer(other);
    let mut written = 0;
    for _ in 0..300 {
        for id in [1, other] {
            if let Poll::Ready(n) = raw.write(id, b"keystroke") {
                written += n.unwrap();
            }
        }
    }
    let data: Vec<_> = raw
        .sent()
        .into_iter()
        .filter(|f| f.0 == kind::DATA)
        .collect();
    assert!(data.len() <= 3, "{} frames", data.len());
    assert_eq!(data.iter().map(|f| f.3.len()).sum::<usize>(), written);
    assert!(
        matches!(raw.write(1, b"more"), Poll::Ready(Ok(4))),
        "once they are sent"
    );
}
