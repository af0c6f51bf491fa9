//! Names out of real ClientHellos, however they are cut, and out of nonsense.

use boring::ssl::{SslConnector, SslVersion};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// What a client sends first.
fn client_hello(name: Option<&str>, version: SslVersion) -> Vec<u8> {
    #[derive(Debug, Default)]
    struct Sent(Vec<u8>);
    impl Read for Sent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    let configure = builder.build().configure().unwrap();
    let configure = configure.use_server_name_indication(name.is_some());
    match configure
        .verify_hostname(false)
        .setup_connect(name.unwrap_or("x"), Sent::default())
        .unwrap()
        .handshake()
    {
        Err(HandshakeError::WouldBlock(waiting)) => waiting.get_ref().0.clone(),
        other => panic!("{other:?}"),
    }
}

/// What is read of pieces that come one after the other, and then the end.
async fn read_pieces(pieces: &[&[u8]]) -> Result<Hello, HelloError> {
    let (mut client, mut server) = tokio::io::duplex(1);
    let writes = async {
        for piece in pieces {
            // The reader may have seen enough.
            if client.write_all(piece).await.is_err() {
                break;
            }
        }
        drop(client);
    };
    let reading = async {
        let hello = read(&mut server, Bytes::new()).await;
        drop(server);
        hello
    };
    tokio::join!(reading, writes).0
}

fn run<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}

#[test]
fn names_are_read_of_every_version() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (name, expected) in [
            (Some("web.example"), "web.example"),
            (Some("Web.Example"), "web.example"),
            (None, ""),
        ] {
            let bytes = client_hello(name, version);
            let hello = run(read_pieces(&[&bytes])).unwrap();
            assert_eq!(&*hello.server_name, expected);
            assert_eq!(hello.bytes, bytes, "the bytes go on as they came");
        }
    }
}

#[test]
fn what_was_read_before_counts() {
    let bytes = Bytes::from(client_hello(Some("web.example"), SslVersion::TLS1_3));
    let (first, rest) = (bytes.slice(..7), bytes.slice(7..));
    let read_on = async {
        let hello = read(&mut &rest[..], first).await;
        hello.unwrap().server_name
    };
    assert_eq!(&*run(read_on), "web.example");
    let whole = run(async { read(&mut &b""[..], bytes.clone()).await });
    assert_eq!(&*whole.unwrap().server_name, "web.example");
}

#[test]
fn everything_else_is_an_error() {
    let hello = client_hello(Some("web.example"), SslVersion::TLS1_3);
    let read = |bytes: &[u8]| run(read_pieces(&[bytes])).unwrap_err();
    assert!(matches!(
        read(b"GET / HTTP/1.1\r\n\r\n"),
        HelloError::Malformed
    ));
    assert!(matches!(read(&hello[..hello.len() - 1]), HelloError::Io(_)));
    assert!(matches!(read(b""), HelloError::Io(_)));
    // A record of the right kind, all of whose handshake messages are warnings that never end.
    let endless = b"\x15\x03\x01\x00\x02\x01\x00".repeat(10_000);
    assert!(!matches!(read(&endless), HelloError::Io(_)));
    let odd = client_hello(Some("a_b..example"), SslVersion::TLS1_3);
    assert!(matches!(read(&odd), HelloError::ServerName));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_cut_gives_the_same(cuts in proptest::collection::vec(0usize..2000, 0..6)) {
        let bytes = client_hello(Some("web.example"), SslVersion::TLS1_3);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[start..cut]);
            start = cut;
        }
        let hello = run(read_pieces(&pieces)).unwrap();
        prop_assert_eq!(&*hello.server_name, "web.example");
        prop_assert_eq!(&hello.bytes[..], &bytes[..]);
    }

    #[test]
    fn nonsense_never_panics(
        at in 0usize..2000, with: u8, noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = client_hello(Some("web.example"), SslVersion::TLS1_3);
        let at = at % bytes.len();
        bytes[at] = with;
        drop(run(read_pieces(&[&bytes])));
        drop(run(read_pieces(&[&noise])));
        let record = [&b"\x16\x03\x01\x01\x00"[..], &noise].concat();
        drop(run(read_pieces(&[&record])));
    }
}
