//! Bodies: large ones both ways with checksums, trailers, early answers, backpressure.

use std::cell::Cell;
use std::hash::Hasher as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, Body, BodyError, Speaks, response, text};
use crate::client::{Client, get, post};
use crate::mesh::test;

const VIP: &str = "10.96.0.10:80";
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 800;

/// The `n`th chunk of a long body.
fn chunk(n: usize) -> Bytes {
    (0..CHUNK)
        .map(|at| (at.wrapping_mul(31) ^ n.wrapping_mul(17)).to_le_bytes()[0])
        .collect()
}

fn long_body() -> Body {
    let frames = (0..CHUNKS).map(|n| Ok::<_, BodyError>(Frame::data(chunk(n))));
    StreamBody::new(tokio_stream::iter(frames)).boxed_unsync()
}

fn expected() -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (0..CHUNKS).for_each(|n| hasher.write(&chunk(n)));
    hasher.finish()
}

/// Length and checksum of a body.
async fn digest<B>(mut body: B) -> Result<(usize, u64)>
where
    B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    let (mut length, mut rest) = (0, Vec::new());
    let mut hasher = std::hash::DefaultHasher::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            length += data.len();
            rest.extend_from_slice(&data);
            // The hasher tells writes apart: feed it the same pieces on both sides.
            while rest.len() >= CHUNK {
                hasher.write(&rest[..CHUNK]);
                rest.drain(..CHUNK);
            }
        }
    }
    Ok((length, hasher.finish()))
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    test(
        "bodies::large_bodies_arrive_whole_both_ways",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let echo = |request: http::Request<Incoming>| async move {
                if request.method() == http::Method::GET {
                    return Ok(http::Response::new(long_body()));
                }
                let (length, sum) = digest(request.into_body()).await?;
                response(200, format!("{length} {sum}"))
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, echo).await?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let answer = http.fetch(post("/", long_body())).await?;
                assert_eq!(answer.text(), format!("{} {}", CHUNK * CHUNKS, expected()));
                let response = http.send(get("/")).await?;
                assert_eq!(
                    digest(response.into_body()).await?,
                    (CHUNK * CHUNKS, expected())
                );
            }
            Ok(())
        },
    );
}

#[test]
fn trailers_pass_both_ways_without_what_frames_a_message() {
    test(
        "bodies::trailers_pass_both_ways_without_what_frames_a_message",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let answer = |request: http::Request<Incoming>| async move {
                let collected = request.into_body().collect().await?;
                let sum = collected
                    .trailers()
                    .and_then(|t| t.get("x-sum"))
                    .map_or("-".into(), |v| v.as_bytes().to_vec());
                let smuggled = collected
                    .trailers()
                    .is_some_and(|t| t.contains_key("authorization"));
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse()?);
                trailers.insert("x-smuggled", smuggled.to_string().parse()?);
                let frames = [
                    Ok::<_, BodyError>(Frame::data(sum.into())),
                    Ok(Frame::trailers(trailers)),
                ];
                Ok(http::Response::new(
                    StreamBody::new(tokio_stream::iter(frames)).boxed_unsync(),
                ))
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Http2, answer).await?;
            let mut http = Client::new(&mesh, "curl").await?.http2(VIP).await?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse()?);
            trailers.insert("authorization", "late".parse()?);
            let frames = [
                Ok::<_, BodyError>(Frame::data("body".into())),
                Ok(Frame::trailers(trailers)),
            ];
            let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
            let answer = http.fetch(post("/", body)).await?;
            assert_eq!(answer.text(), "42");
            let trailers = answer.trailers.expect("trailers");
            assert_eq!(
                (&trailers["grpc-status"], &trailers["x-smuggled"]),
                (&"0".parse()?, &"false".parse()?)
            );
            Ok(())
        },
    );
}

#[test]
fn an_early_answer_passes_and_the_next_request_is_right() {
    test(
        "bodies::an_early_answer_passes_and_the_next_request_is_right",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let early = |request: http::Request<Incoming>| async move {
                response(
                    if request.method() == http::Method::POST {
                        413
                    } else {
                        200
                    },
                    request.uri().path().to_owned(),
                )
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, early).await?;
            let client = Client::new(&mesh, "curl").await?;
            for _ in 0..10 {
                let mut http = client.http1(VIP).await?;
                let frames = tokio_stream::pending::<Result<Frame<Bytes>, BodyError>>();
                let response = http
                    .send(post("/big", StreamBody::new(frames).boxed_unsync()))
                    .await?;
                assert_eq!(response.status(), 413);
                drop(http);
                let mut http = client.http1(VIP).await?;
                for n in 0..3 {
                    assert_eq!(http.get(&format!("/{n}")).await?.text(), format!("/{n}"));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_slow_reader_holds_its_writer_back() {
    test(
        "bodies::a_slow_reader_holds_its_writer_back",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let produced = Rc::new(Cell::new(0));
            let counter = Rc::clone(&produced);
            let endless = move |_: http::Request<Incoming>| {
                let counter = Rc::clone(&counter);
                async move {
                    let frames = std::iter::repeat_with(move || {
                        counter.set(counter.get() + CHUNK);
                        Ok::<_, BodyError>(Frame::data(Bytes::from(vec![0; CHUNK])))
                    });
                    // Not Send, so not a boxed body: streamed by hand.
                    Ok(http::Response::new(unsend(frames)))
                }
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, endless).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut response = http.send(get("/")).await?;
            response.body_mut().frame().await.expect("a frame")?;
            let mut before = 0;
            while before != produced.get() {
                before = produced.get();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            // Two tunnels with windows of 4 MiB and the buffers of the sockets between.
            assert!(
                before < 64 << 20,
                "{before} bytes were produced for a reader that reads nothing"
            );
            Ok(())
        },
    );
}

/// Frames made on this thread, for a body that may move to others but never does.
fn unsend(frames: impl Iterator<Item = Result<Frame<Bytes>, BodyError>> + 'static) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::task::spawn_local(async move {
        for frame in frames {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver)).boxed_unsync()
}

#[test]
fn a_head_request_and_an_empty_answer_have_no_body() {
    test(
        "bodies::a_head_request_and_an_empty_answer_have_no_body",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let answer = |request: http::Request<Incoming>| async move {
                let head = request.method() == http::Method::HEAD;
                let status = if request.uri().path() == "/none" {
                    204
                } else {
                    200
                };
                let mut response = http::Response::builder().status(status);
                if head {
                    response = response.header("content-length", "12");
                }
                Ok(response.body(text(if status == 204 || head {
                    ""
                } else {
                    "twelve bytes"
                }))?)
            };
            let backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, answer).await?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                for _ in 0..5 {
                    let mut head = get("/");
                    *head.method_mut() = http::Method::HEAD;
                    let answer = http.fetch(head).await?;
                    assert_eq!(
                        (answer.header("content-length"), answer.body.len()),
                        (Some("12"), 0)
                    );
                    assert_eq!(http.get("/none").await?.status.as_u16(), 204);
                    assert_eq!(http.get("/").await?.text(), "twelve bytes");
                }
            }
            assert_eq!(
                backend.connections.get(),
                2,
                "one connection for each protocol serves all"
            );
            Ok(())
        },
    );
}

#[test]
fn a_body_that_waits_for_leave_gets_it_and_a_half_closed_client_its_answer() {
    test(
        "bodies::a_body_that_waits_for_leave_gets_it_and_a_half_closed_client_its_answer",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let echo = |request: http::Request<Incoming>| async move {
                assert!(!request.headers().contains_key("expect"));
                let body = request.into_body().collect().await?.to_bytes();
                tokio::time::sleep(Duration::from_millis(100)).await;
                response(200, body)
            };
            let _backend = Backend::start(&mesh, "web-1", "web", 10, Speaks::Http1, echo).await?;
            let mut stream = Client::new(&mesh, "curl").await?.connect(VIP).await?;
            let head =
                "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            let leave = b"HTTP/1.1 100 Continue\r\n\r\n";
            let mut got = vec![0; leave.len()];
            stream.read_exact(&mut got).await?;
            assert_eq!(got, leave);
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"),
                "{answer}"
            );
            Ok(())
        },
    );
}
