//! Every limit of a proxy in one place, with its default and the reason for it.

use std::time::Duration;

/// Deadlines and caps that keep one peer, pod or failure from taking what others need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From TCP accept or connect to a finished TLS and HTTP/2 handshake. 10 s: several round trips on
    /// the worst of paths, yet a peer that sends nothing does not hold a socket for long.
    pub handshake: Duration,
    /// One TCP dial. 10 s, as other meshes do; the kernel alone would take two minutes.
    pub connect: Duration,
    /// From sending CONNECT to its answer, which includes the peer's own dial to the application.
    /// 15 s: longer than `connect`, so that the peer's answer arrives rather than our timeout.
    pub connect_request: Duration,
    /// How long an unknown address inside the cluster's ranges waits for xDS before it is refused. 5 s.
    pub workload_wait: Duration,
    /// How long a connection waits for its workload's first certificate. 5 s.
    pub certificate_wait: Duration,
    /// A stream that moves no byte in either direction for this long is closed. 24 h: dead peers are found
    /// by keepalive within half an hour; this bounds what a live but forgotten connection holds.
    pub stream_idle: Duration,
    /// A tunnel without streams is closed after this. 5 min.
    pub tunnel_idle: Duration,
    /// No stream is opened in a tunnel that is older, less up to a fifth by chance; it ends with its streams. 10 min: what
    /// was chosen before there were more instances of a waypoint is soon chosen anew, and a handshake in 10 min is nothing.
    pub tunnel_age: Duration,
    /// A waypoint sends GOAWAY in a tunnel that is older, less up to a fifth by chance, to node proxies that would use it
    /// for ever. 30 min: ours have left it before.
    pub served_age: Duration,
    /// From the first byte of an HTTP request to the end of its headers. 10 s.
    pub request_header: Duration,
    /// Size of all headers of a request or CONNECT, decoded. 64 KiB.
    pub header_bytes: usize,
    /// A client of a gateway's listener that is quiet from the start is closed after this. 60 s: browsers open
    /// connections ahead of need, and open another one at once when it was closed.
    pub client_silence: Duration,
    /// A client of a gateway's listener without a request in flight is closed after this, up to twice as long. 11 min:
    /// load balancers in front keep connections for up to 10, and must be the ones that close.
    pub client_idle: Duration,
    /// A client of a gateway's listener that takes no byte of what waits for it is closed after this. 5 min.
    pub client_stall: Duration,
    /// `stream_idle` for clients of a gateway's listeners. 1 h: nobody vouches for them.
    pub client_stream_idle: Duration,
    /// Handshakes of clients of a gateway's listeners in flight on one core. 1,000: more are refused, so that those in
    /// flight come to an end.
    pub client_handshakes: usize,
    /// A client of a gateway's listener that owes a request's body and sends no byte of it for this long gets 408. 30 s. Calls
    /// of gRPC, whose clients may stay silent, are bounded by `client_idle` alone.
    pub client_body_silence: Duration,
    /// Connections of one pod at once, both directions together. 10,000: half of a common descriptor limit,
    /// so that one pod cannot take the node.
    pub connections_per_pod: usize,
    /// Connections of the process at once. 100,000.
    pub connections: usize,
    /// TLS handshakes in flight from one pod's listener. 1,000: more are refused.
    pub handshakes_per_pod: usize,
    /// DNS questions of one pod that wait for an upstream's answer. 1,000.
    pub dns_in_flight: usize,
    /// One DNS question to one upstream. 5 s, what resolvers themselves wait.
    pub dns_timeout: Duration,
    /// How long established streams may go on after a drain started. 25 s, below Kubernetes' usual 30 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            connect_request: Duration::from_secs(15),
            workload_wait: Duration::from_secs(5),
            certificate_wait: Duration::from_secs(5),
            stream_idle: Duration::from_secs(24 * 3600),
            tunnel_idle: Duration::from_secs(300),
            tunnel_age: Duration::from_secs(600),
            served_age: Duration::from_secs(1800),
            request_header: Duration::from_secs(10),
            header_bytes: 64 * 1024,
            client_silence: Duration::from_secs(60),
            client_idle: Duration::from_secs(11 * 60),
            client_stall: Duration::from_secs(300),
            client_stream_idle: Duration::from_secs(3600),
            client_handshakes: 1_000,
            client_body_silence: Duration::from_secs(30),
            connections_per_pod: 10_000,
            connections: 100_000,
            handshakes_per_pod: 1_000,
            dns_in_flight: 1_000,
            dns_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(25),
        }
    }
}
