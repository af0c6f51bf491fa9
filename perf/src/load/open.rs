//! Requests at a fixed rate, evenly spaced, in turn over connections, whatever the server does.
//!
//! Invariant: every intended request counts, from the moment at which it was meant to be sent: when its connection is
//! still busy it waits its turn and the wait is part of its latency; when it was never answered, it counts as unserved and
//! with the time until the generator gave up.
//!
//! A thread of its own keeps the time and sends: timers of the runtime have steps of a millisecond, which is longer than
//! many an answer takes.

use super::{Account, Order, exchange, wait_for_go};
use crate::latency::Latency;
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::VecDeque,
    fs,
    io::{ErrorKind, Write as _},
    net::TcpStream as Blocking,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::LocalSet};

/// How long answers may come after the last request was meant to be sent.
const GRACE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(2);
const BUFFER: usize = 64 * 1024;

/// A connection, between the thread that sends and the one that reads.
struct Lane {
    sender: Blocking,
    turns: Mutex<Turns>,
}

/// When requests were meant to be sent.
#[derive(Default)]
struct Turns {
    under_way: Option<Instant>,
    waiting: VecDeque<Instant>,
    served: u64,
    latency: Latency,
}

pub(super) async fn run(order: &Order, connections: usize, rate: f64) -> Result<Account> {
    ensure!(connections > 0 && rate > 0.0, "no connections or no rate");
    finest_timers();
    let request = exchange::request(order, false);
    let mut lanes = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..connections {
        let mut stream = exchange::connect(order.target).await?;
        exchange::exchange_within(super::PATIENCE, &mut stream, &request, order.size).await?;
        let stream = stream.into_std()?;
        lanes.push(Arc::new(Lane {
            sender: stream.try_clone()?,
            turns: Mutex::default(),
        }));
        readers.push(TcpStream::from_std(stream)?);
    }
    wait_for_go()?;
    let begin = Instant::now();
    let schedule = Schedule {
        begin,
        rate,
        count: whole(rate * order.seconds),
    };
    let pacer = {
        let (lanes, request) = (lanes.clone(), request.clone());
        thread::spawn(move || pace(schedule, &lanes, &request))
    };
    let tasks = LocalSet::new();
    for (lane, stream) in lanes.iter().zip(readers) {
        let (lane, request, size) = (Arc::clone(lane), request.clone(), order.size);
        // A connection that fails leaves its requests unserved, which is told.
        tasks.spawn_local(async move { read(&lane, stream, &request, size).await });
    }
    let end = schedule.moment(schedule.count) + GRACE;
    tasks
        .run_until(async {
            while Instant::now() < end && served(&lanes) < schedule.count {
                tokio::time::sleep(INTERVAL).await;
            }
        })
        .await;
    let lag = match pacer.join() {
        Ok(lag) => lag?,
        Err(_) => bail!("the thread that sends panicked"),
    };
    Ok(account(&lanes, schedule, lag))
}

/// When which request is meant to be sent.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    rate: f64,
    count: u64,
}

impl Schedule {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
    fn moment(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

/// Sends each request at its moment, or leaves it to the reader of a connection that is busy. Says how late it was.
fn pace(schedule: Schedule, lanes: &[Arc<Lane>], request: &[u8]) -> Result<Latency> {
    let mut lag = Latency::default();
    for (number, lane) in (0..schedule.count).zip(lanes.iter().cycle()) {
        let moment = schedule.moment(number);
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        lag.record(moment.elapsed());
        let mut turns = lane.turns();
        if turns.under_way.is_some() {
            turns.waiting.push_back(moment);
        } else {
            turns.under_way = Some(moment);
            send(&lane.sender, request)?;
        }
    }
    Ok(lag)
}

async fn read(lane: &Lane, mut stream: TcpStream, request: &[u8], size: usize) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut answer = exchange::Answer::new(size);
    loop {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the server closed the connection");
        if !answer.take(buffer.get(..length).unwrap_or_default())? {
            continue;
        }
        let now = Instant::now();
        let mut turns = lane.turns();
        let moment = turns.under_way.take().context("an answer to nothing")?;
        turns.latency.record(now.saturating_duration_since(moment));
        turns.served += 1;
        if let Some(next) = turns.waiting.pop_front() {
            turns.under_way = Some(next);
            send(&lane.sender, request)?;
        }
    }
}

/// A request is far shorter than a socket's buffer, and there is one at most: it fits, or the connection is broken.
fn send(mut socket: &Blocking, request: &[u8]) -> Result<()> {
    match socket.write(request) {
        Ok(length) => ensure!(length == request.len(), "a request was cut short"),
        // The reader notices, and the request stays unserved.
        Err(error) if error.kind() != ErrorKind::WouldBlock => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn served(lanes: &[Arc<Lane>]) -> u64 {
    lanes.iter().map(|lane| lane.turns().served).sum()
}

fn account(lanes: &[Arc<Lane>], schedule: Schedule, lag: Latency) -> Account {
    let now = Instant::now();
    let mut account = Account {
        intended: schedule.count,
        seconds: schedule.begin.elapsed().as_secs_f64(),
        lag,
        ..Account::default()
    };
    for lane in lanes {
        let turns = lane.turns();
        account.served += turns.served;
        account.latency.add(&turns.latency);
        for moment in turns.under_way.iter().chain(&turns.waiting) {
            account
                .latency
                .record(now.saturating_duration_since(*moment));
        }
    }
    account
}

impl Lane {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads inherit it. Where it is not allowed, the generator is later, and says so.
fn finest_timers() {
    let _ = fs::write("/proc/self/timerslack_ns", "1");
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of requests are small and positive"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read as _, net::TcpListener};

    /// Answers each request, the first one after a pause.
    fn server(pause: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let mut answered = 0;
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                if answered == 1 {
                    thread::sleep(pause);
                }
                answered += 1;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .unwrap();
            }
        });
        address
    }

    #[test]
    fn a_pause_of_the_server_is_counted_by_all_who_waited() {
        let pause = Duration::from_millis(200);
        let target = server(pause);
        let lane = || {
            let stream = Blocking::connect(target).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let account = runtime.block_on(async {
            let stream = lane();
            let lanes = vec![Arc::new(Lane {
                sender: stream.try_clone().unwrap(),
                turns: Mutex::default(),
            })];
            let schedule = Schedule {
                begin: Instant::now(),
                rate: 500.0,
                count: 150,
            };
            let reader = TcpStream::from_std(stream).unwrap();
            let tasks = LocalSet::new();
            let lane = Arc::clone(&lanes[0]);
            tasks.spawn_local(async move { read(&lane, reader, request, 2).await });
            let sender = lanes.clone();
            let pacer = thread::spawn(move || pace(schedule, &sender, request));
            tasks
                .run_until(async {
                    while served(&lanes) < 150 {
                        tokio::time::sleep(INTERVAL).await;
                    }
                })
                .await;
            account(&lanes, schedule, pacer.join().unwrap().unwrap())
        });
        assert_eq!((account.served, account.intended), (150, 150));
        // 500 a second: 100 of the 150 were meant to be sent within the pause, and half of those waited 100 ms or more.
        assert!(
            account.latency.quantile(0.5) > 20_000.0,
            "{}",
            account.latency.quantile(0.5)
        );
        assert!(
            account.latency.quantile(0.7) > 80_000.0,
            "{}",
            account.latency.quantile(0.7)
        );
    }
}
