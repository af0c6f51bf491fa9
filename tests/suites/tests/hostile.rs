//! A pod's tunnel port under a peer that speaks TLS and HTTP/2 by hand: who may in, what a CONNECT may ask for.

use anyhow::{Context, Result, bail, ensure};
use culvert_lab::MeshOptions;
use culvert_suites::{Fixture, client, port};
use culvert_testkit::{Authority, Frame, Leaf, Peer, authority::Credentials, frame::kind};
use std::net::{IpAddr, SocketAddr};

const HBONE: u16 = 15008;
const HOUR: i64 = 3600;

struct Attack<'lab> {
    fixture: Fixture<'lab>,
    root: Authority,
}

impl Attack<'_> {
    fn start(lab: &culvert_lab::Lab) -> Result<Attack<'_>> {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        let root = Authority::of_controller(&fixture.mesh.config_dir().join(".state"))?;
        Ok(Attack { fixture, root })
    }

    /// A certificate of the client's identity, as the mesh would issue it.
    fn honest(&self) -> Result<Credentials> {
        self.root.issue(&Leaf::of(&self.fixture.client.identity()))
    }

    /// From a pod outside the mesh to the server's tunnel port.
    fn open(&self, credentials: Option<&Credentials>) -> Result<Peer> {
        Peer::open(
            client::connect(&self.fixture.stranger, self.fixture.server.ip(), HBONE)?,
            credentials,
        )
    }

    fn address(&self, ip: IpAddr, port: u16) -> String {
        SocketAddr::new(ip, port).to_string()
    }

    /// An honest peer still gets through.
    fn still_serves(&self) -> Result<()> {
        let mut peer = self.open(Some(&self.honest()?))?;
        let (stream, status) = peer.connect(
            self.address(self.fixture.server.ip(), port::ECHO)
                .as_bytes(),
        )?;
        ensure!(status == 200, "an honest CONNECT gets {status}");
        ensure!(peer.exchange(stream, b"hello")? == b"hello");
        self.fixture.talks()
    }
}

/// Leaves that the mesh must not take for the identity `uri`, and what is wrong with each.
fn unacceptable(uri: &str) -> Vec<(&'static str, Leaf)> {
    let uri = uri.to_owned();
    let of = Leaf::of;
    vec![
        (
            "two identities",
            Leaf {
                uris: vec![uri.clone(), uri.clone()],
                ..of(&uri)
            },
        ),
        (
            "no identity",
            Leaf {
                uris: vec![],
                ..of(&uri)
            },
        ),
        (
            "a DNS name alone",
            Leaf {
                uris: vec![],
                dns: vec!["client.demo".into()],
                ..of(&uri)
            },
        ),
        (
            "expired",
            Leaf {
                not_before: -2 * HOUR,
                not_after: -HOUR,
                ..of(&uri)
            },
        ),
        (
            "not yet valid",
            Leaf {
                not_before: HOUR,
                not_after: 2 * HOUR,
                ..of(&uri)
            },
        ),
        (
            "not for clients",
            Leaf {
                client_auth: false,
                ..of(&uri)
            },
        ),
        (
            "another trust domain",
            of("spiffe://elsewhere/ns/demo/sa/client"),
        ),
        (
            "a path that climbs",
            of("spiffe://cluster.local/ns/demo/../sa/client"),
        ),
        (
            "an escaped path",
            of("spiffe://cluster.local/ns/demo/sa/%63lient"),
        ),
        (
            "an upper-case scheme",
            of("SPIFFE://cluster.local/ns/demo/sa/client"),
        ),
        (
            "no SPIFFE name",
            of("https://cluster.local/ns/demo/sa/client"),
        ),
    ]
}

#[test]
fn only_certificates_of_the_mesh_come_in() {
    culvert_lab::test("only_certificates_of_the_mesh_come_in", |lab| {
        let attack = Attack::start(lab)?;
        let uri = attack.fixture.client.identity();
        for (what, leaf) in unacceptable(&uri) {
            let credentials = attack.root.issue(&leaf)?;
            ensure!(attack.open(Some(&credentials)).is_err(), "{what} comes in");
        }
        let stranger = Authority::stranger()?.issue(&Leaf::of(&uri))?;
        ensure!(
            attack.open(Some(&stranger)).is_err(),
            "a certificate of another root comes in"
        );
        ensure!(
            attack.open(None).is_err(),
            "a peer without a certificate comes in"
        );
        attack.still_serves()
    });
}

#[test]
fn a_connect_reaches_the_pod_it_was_sent_to_and_nothing_else() {
    culvert_lab::test(
        "a_connect_reaches_the_pod_it_was_sent_to_and_nothing_else",
        |lab| {
            let attack = Attack::start(lab)?;
            let other = attack.fixture.add_pod("n2", "demo", "other", "other")?;
            let server = attack.fixture.server.ip();
            let mut authorities = vec![
                attack.address(other.ip(), port::ECHO),
                attack.address(attack.fixture.client.ip(), port::ECHO),
                "127.0.0.1:15000".into(),
                "127.0.0.1:7000".into(),
                "[::1]:7000".into(),
                "0.0.0.0:7000".into(),
                format!("[::ffff:{server}]:7000"),
                format!("{server}:0"),
                format!("{server}:70000"),
                format!("{server}:+7000"),
                format!("{server}"),
                format!("user@{server}:7000"),
                format!("{server}:7000/path"),
                "server.demo.svc.cluster.local.:7000".into(),
                "x".repeat(8000),
                String::new(),
            ];
            for own in [15001, 15006, HBONE, 15053] {
                authorities.push(attack.address(server, own));
            }
            let mut peer = attack.open(Some(&attack.honest()?))?;
            for authority in authorities {
                let stream = peer.request(&[
                    (":method", b"CONNECT"),
                    (":authority", authority.as_bytes()),
                ])?;
                let answer = peer.receive_on(stream, kind::HEADERS)?;
                match answer.kind {
                    // What is no request at all may end its stream instead of being answered.
                    kind::RST_STREAM => {}
                    kind::HEADERS => {
                        let status = culvert_testkit::hpack::status(&answer.payload)?;
                        ensure!(
                            (400..=503).contains(&status),
                            "CONNECT {authority:?} gets {status}"
                        );
                    }
                    _ => bail!("CONNECT {authority:?} ends the connection: {answer:?}"),
                }
            }
            for method in [&b"GET"[..], b"POST", b"OPTIONS"] {
                let stream = peer.request(&[
                    (":method", method),
                    (":scheme", b"http"),
                    (":path", b"/"),
                    (":authority", b"a"),
                ])?;
                let status = peer
                    .status(stream)
                    .context("a request that is no CONNECT")?;
                ensure!(status == 400, "{method:?} gets {status}");
            }
            attack.still_serves()
        },
    );
}

#[test]
fn broken_bytes_end_their_own_connection_only() {
    culvert_lab::test("broken_bytes_end_their_own_connection_only", |lab| {
        let attack = Attack::start(lab)?;
        let honest = attack.honest()?;
        let mut bystander = attack.open(Some(&honest))?;
        let echo = attack.address(attack.fixture.server.ip(), port::ECHO);
        let (stream, status) = bystander.connect(echo.as_bytes())?;
        ensure!(status == 200);

        let connect =
            || client::connect(&attack.fixture.stranger, attack.fixture.server.ip(), HBONE);
        let mut no_preface = Peer::handshake(connect()?, Some(&honest))?;
        no_preface.send_bytes(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        no_preface.ended()?;
        for frame in [
            Frame::new(kind::DATA, 0, 0, *b"on no stream"),
            Frame::new(kind::DATA, 0, 99, *b"on a stream that is not open"),
            Frame::new(kind::SETTINGS, 0, 0, *b"seven b"),
            Frame::new(kind::PING, 0, 0, *b"short"),
            Frame::new(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 0]),
            Frame::new(kind::CONTINUATION, 0, 1, *b"of nothing"),
            Frame::new(kind::HEADERS, 0x4, 1, [0xff; 32]),
            Frame::new(kind::HEADERS, 0x4, 2, []),
        ] {
            let mut peer = attack.open(Some(&honest))?;
            peer.send(&frame)?;
            let code = peer.ended().with_context(|| format!("{frame:?}"))?;
            ensure!(code != Some(0), "{frame:?} was taken for a good end");
        }
        ensure!(bystander.exchange(stream, b"still here")? == b"still here");
        attack.still_serves()
    });
}
