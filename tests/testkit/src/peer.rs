//! A peer of the tunnel port that speaks TLS and HTTP/2 by hand, on a blocking socket with a deadline.

use crate::{
    authority::Credentials,
    frame::{self, Frame, PREFACE, flag, kind},
    hpack,
};
use anyhow::{Context, Result, bail};
use boring::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// SETTINGS_HEADER_TABLE_SIZE 0: header blocks that are understood by themselves.
const NO_HEADER_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// A connection after its TLS handshake.
#[derive(Debug)]
pub struct Peer {
    stream: SslStream<TcpStream>,
    next_stream: u32,
}

impl Peer {
    /// Shakes hands with these credentials, or with none. The server's are not looked at.
    ///
    /// With TLS 1.3 a server refuses a client's certificate after the client's side of the handshake is done: then it is
    /// the first read that fails.
    pub fn handshake(stream: TcpStream, credentials: Option<&Credentials>) -> Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let mut builder = SslConnector::builder(SslMethod::tls())?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        builder.set_alpn_protos(b"\x02h2")?;
        if let Some(Credentials { certificate, key }) = credentials {
            builder.set_certificate(certificate)?;
            builder.set_private_key(key)?;
        }
        let configuration = builder
            .build()
            .configure()?
            .use_server_name_indication(false)
            .verify_hostname(false);
        let stream = configuration
            .connect("peer", stream)
            .map_err(|error| anyhow::anyhow!("handshake: {error}"))?;
        Ok(Self {
            stream,
            next_stream: 1,
        })
    }

    /// [`Self::handshake`], then the preface and settings of both sides.
    pub fn open(stream: TcpStream, credentials: Option<&Credentials>) -> Result<Self> {
        let mut peer = Self::handshake(stream, credentials)?;
        peer.send_bytes(PREFACE)?;
        peer.send(&Frame::new(kind::SETTINGS, 0, 0, NO_HEADER_TABLE))?;
        let settings = peer.receive()?;
        if settings.kind != kind::SETTINGS {
            bail!("the server's first frame is {settings:?}");
        }
        peer.send(&Frame::new(kind::SETTINGS, flag::ACK, 0, []))?;
        Ok(peer)
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush().context("sending")
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.send_bytes(&frame.encode())
    }

    /// The next frame.
    pub fn receive(&mut self) -> Result<Frame> {
        let mut header = [0; frame::HEADER];
        self.stream.read_exact(&mut header).context("receiving")?;
        let mut payload = vec![0; frame::payload_length(header)];
        self.stream.read_exact(&mut payload).context("receiving")?;
        Ok(Frame::decode(header, payload))
    }

    /// The next frame of `kind` on a stream, or of the stream's or the connection's end; others are skipped, such as the
    /// late reset of another stream.
    pub fn receive_on(&mut self, stream: u32, kind: u8) -> Result<Frame> {
        loop {
            let frame = self.receive()?;
            let wanted =
                frame.stream == stream && (frame.kind == kind || frame.kind == kind::RST_STREAM);
            if wanted || frame.kind == kind::GOAWAY {
                return Ok(frame);
            }
        }
    }

    /// Sends a request on a new stream and yields its number.
    pub fn request(&mut self, headers: &[(&str, &[u8])]) -> Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.send(&Frame::new(
            kind::HEADERS,
            flag::END_HEADERS,
            stream,
            hpack::encode(headers),
        ))?;
        Ok(stream)
    }

    /// Sends a CONNECT and yields the stream and the status that came back.
    pub fn connect(&mut self, authority: &[u8]) -> Result<(u32, u16)> {
        let stream = self.request(&[(":method", b"CONNECT"), (":authority", authority)])?;
        Ok((stream, self.status(stream)?))
    }

    /// The status of the response on a stream.
    pub fn status(&mut self, stream: u32) -> Result<u16> {
        let response = self.receive_on(stream, kind::HEADERS)?;
        if response.kind != kind::HEADERS {
            bail!("no response on stream {stream}: {response:?}");
        }
        hpack::status(&response.payload)
    }

    /// Sends data on a stream and yields the data of the next DATA frame that has any.
    pub fn exchange(&mut self, stream: u32, data: &[u8]) -> Result<Vec<u8>> {
        self.send(&Frame::new(kind::DATA, 0, stream, data))?;
        loop {
            let frame = self.receive_on(stream, kind::DATA)?;
            if frame.kind != kind::DATA {
                bail!("stream {stream} ended: {frame:?}");
            }
            if !frame.payload.is_empty() {
                return Ok(frame.payload);
            }
        }
    }

    /// Reads until the server ends the connection; yields its GOAWAY's error code, if it sent one.
    pub fn ended(&mut self) -> Result<Option<u32>> {
        let mut code = None;
        loop {
            match self.receive() {
                Ok(frame) if frame.kind == kind::GOAWAY => code = frame.error_code(),
                Ok(_) => {}
                Err(error) if timed_out(&error) => {
                    return Err(error.context("the connection stays open"));
                }
                Err(_) => return Ok(code),
            }
        }
    }
}

fn timed_out(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            )
        })
}
