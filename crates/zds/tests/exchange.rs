//! Both sides over a real socket: the exchange itself, then everything that a broken or hostile peer
//! may do. Descriptors are counted, because a refused packet must not leak what came with it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails is the test's failure"
)]

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_zds::{
    Client, MAX_FRAME, Peer, Request, Server, WELL_KNOWN_MARK, Workload, WorkloadInfo, ZdsError,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType,
};

const DEADLINE: Duration = Duration::from_secs(10);

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ztunnel.sock");
    Place { _dir: dir, path }
}

fn workload(uid: &str) -> Workload {
    Workload {
        uid: uid.into(),
        info: Some(WorkloadInfo {
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "default".into(),
        }),
        mark: 0x1234_5678,
        addresses: vec!["10.0.0.5".parse().unwrap()],
    }
}

/// Any descriptor; the codec does not look into it.
fn netns() -> File {
    File::open("/proc/self/ns/net").unwrap()
}

/// A peer that sends bytes of its own choice.
struct Raw(OwnedFd);

impl Raw {
    fn connect(place: &Place) -> Self {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(&place.path).unwrap()).unwrap();
        Self(socket)
    }

    fn send(&self, frame: &[u8], descriptors: usize) {
        let files: Vec<File> = (0..descriptors).map(|_| netns()).collect();
        send(&self.0, frame, &files);
    }

    fn recv(&self) -> Vec<u8> {
        let mut frame = vec![0; 4096];
        let length = rustix::net::recv(&self.0, &mut frame[..], RecvFlags::empty())
            .unwrap()
            .0;
        frame.truncate(length);
        frame
    }
}

fn send(socket: &OwnedFd, frame: &[u8], files: &[File]) {
    let borrowed: Vec<_> = files.iter().map(std::os::fd::AsFd::as_fd).collect();
    let mut space = vec![std::mem::MaybeUninit::uninit(); 2048];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let io = [std::io::IoSlice::new(frame)];
    rustix::net::sendmsg(socket, &io, &mut ancillary, SendFlags::empty()).unwrap();
}

/// A listening socket without the protocol, to play a broken agent.
fn listen_raw(place: &Place) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&place.path).unwrap()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    socket
}

async fn connected(place: &Place) -> (Server, Peer, Client) {
    let server = Server::bind(&place.path).unwrap();
    let client = Client::connect(&place.path).await.unwrap();
    let peer = server.accept().await.unwrap().hello(DEADLINE).await;
    (server, peer.unwrap(), client)
}

/// Descriptors of this process that are open on the file at `path`.
fn open_on(path: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target == path)
        .count()
}

#[tokio::test]
async fn a_whole_snapshot_is_exchanged_and_the_namespace_arrives() {
    let place = place();
    let (_server, mut peer, mut client) = connected(&place).await;
    assert!(peer.is_culvert());
    let ztunnel = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(request) = client.recv().await.unwrap() {
            seen.push(match request {
                Request::Add(workload, fd) => {
                    let target = format!("/proc/self/fd/{}", fd.as_raw_fd());
                    let target = std::fs::read_link(target).unwrap();
                    assert!(target.to_string_lossy().starts_with("net:["));
                    format!("add {} {:#x}", workload.uid, workload.mark)
                }
                Request::Keep(uid) => format!("keep {uid}"),
                Request::Del(uid) => format!("del {uid}"),
                Request::SnapshotSent => "snapshot".into(),
            });
            client.ack(Ok(())).await.unwrap();
        }
        seen
    });
    peer.send_add(workload("a"), netns().as_fd()).await.unwrap();
    peer.send_keep("b").await.unwrap();
    peer.send_snapshot().await.unwrap();
    peer.send_del("a").await.unwrap();
    drop(peer);
    let seen = ztunnel.await.unwrap();
    assert_eq!(seen, ["add a 0x12345678", "keep b", "snapshot", "del a"]);
}

#[tokio::test]
async fn a_refusal_reaches_the_agent_and_the_connection_goes_on() {
    let place = place();
    let (_server, mut peer, mut client) = connected(&place).await;
    let ztunnel = tokio::spawn(async move {
        assert!(matches!(client.recv().await, Ok(Some(Request::Add(..)))));
        client.ack(Err("no such namespace".into())).await.unwrap();
        assert!(matches!(client.recv().await, Ok(Some(Request::Del(_)))));
        client.ack(Ok(())).await.unwrap();
    });
    let refused = peer
        .send_add(workload("a"), netns().as_fd())
        .await
        .unwrap_err();
    assert!(matches!(&refused, ZdsError::Rejected(error) if error == "no such namespace"));
    assert!(!refused.is_fatal());
    peer.send_del("a").await.unwrap();
    ztunnel.await.unwrap();
}

#[tokio::test]
async fn a_stock_ztunnel_gets_frames_it_can_read_and_no_keep() {
    let place = place();
    let server = Server::bind(&place.path).unwrap();
    let stock = Raw::connect(&place);
    stock.send(&[0x08, 0x01], 0);
    let mut peer = server
        .accept()
        .await
        .unwrap()
        .hello(DEADLINE)
        .await
        .unwrap();
    assert!(!peer.is_culvert());
    let ztunnel = std::thread::spawn(move || {
        let frame = stock.recv();
        stock.send(&[0x0a, 0x00], 0);
        (frame, stock.recv())
    });
    peer.send_keep("a").await.unwrap();
    peer.send_add(workload("a"), netns().as_fd()).await.unwrap();
    drop(peer);
    let (frame, end) = ztunnel.join().unwrap();
    assert!(end.is_empty(), "only one request was to come: {end:?}");
    let Ok(culvert_zds::Message::Add(read)) = culvert_zds::decode(&frame) else {
        panic!("not an Add: {frame:?}")
    };
    assert_eq!((read.mark, read.addresses.len()), (WELL_KNOWN_MARK, 0));
}

#[tokio::test]
async fn a_silent_ztunnel_is_given_up_and_its_late_ack_is_not_used() {
    let place = place();
    let server = Server::bind(&place.path).unwrap();
    let silent = Raw::connect(&place);
    let short = Duration::from_millis(50);
    let pending = server.accept().await.unwrap();
    assert!(matches!(
        pending.hello(short).await,
        Err(ZdsError::Deadline(_))
    ));

    drop(silent);
    let hung = Raw::connect(&place);
    hung.send(&[0x08, 0x01], 0);
    let mut peer = server.accept().await.unwrap().hello(short).await.unwrap();
    let error = peer.send_del("a").await.unwrap_err();
    assert!(matches!(error, ZdsError::Deadline(_)) && error.is_fatal());
    hung.send(&[0x0a, 0x00], 0);
    let error = peer.send_del("b").await.unwrap_err();
    assert!(matches!(error, ZdsError::OutOfTurn), "{error}");
}

#[tokio::test]
async fn a_ztunnel_that_leaves_or_talks_out_of_turn_is_noticed() {
    let place = place();
    let (server, mut peer, client) = connected(&place).await;
    drop(client);
    assert!(matches!(peer.gone().await, ZdsError::Closed));
    let error = peer.send_del("a").await.unwrap_err();
    assert!(error.is_fatal());

    let chatty = Raw::connect(&place);
    chatty.send(&[0x08, 0x01], 0);
    let mut peer = server
        .accept()
        .await
        .unwrap()
        .hello(DEADLINE)
        .await
        .unwrap();
    chatty.send(&[0x0a, 0x00], 0);
    assert!(matches!(peer.gone().await, ZdsError::OutOfTurn));
}

#[tokio::test]
async fn a_hello_with_descriptors_or_of_another_version_is_refused() {
    let place = place();
    let server = Server::bind(&place.path).unwrap();
    for (frame, descriptors) in [(&[0x08, 0x01][..], 1), (&[0x08, 0x07], 0), (&[0xff], 0)] {
        let raw = Raw::connect(&place);
        raw.send(frame, descriptors);
        let refused = server.accept().await.unwrap().hello(DEADLINE).await;
        assert!(matches!(refused, Err(ZdsError::Decode(_))), "{refused:?}");
    }
}

/// The agent is broken: every malformed packet gets one Ack with an error, nothing leaks, and the
/// next good one is served.
#[tokio::test]
async fn malformed_packets_are_answered_skipped_and_leak_nothing() {
    let place = place();
    let listener = listen_raw(&place);
    let mut client = Client::connect(&place.path).await.unwrap();
    let agent = rustix::net::accept(&listener).unwrap();
    // A file of this test's own, so that its descriptors can be told from other tests'.
    let marker = place.path.with_extension("marker");
    std::fs::write(&marker, "").unwrap();

    const ADD: [u8; 5] = [0x0a, 0x03, 0x0a, 0x01, b'u'];
    const DEL: [u8; 5] = [0x12, 0x03, 0x12, 0x01, b'u'];
    let malformed: [(&[u8], usize); 7] = [
        (&[0xff; 16], 0),
        (&[0xff; 16], 1),
        (&ADD, 0),
        (&ADD, 2),
        (&DEL, 1),
        (&[0x0a; MAX_FRAME + 1], 0),
        (&ADD, 200),
    ];
    assert!(!recv(&agent).is_empty(), "a Hello");
    let sent = marker.clone();
    let broken = std::thread::spawn(move || {
        for (frame, descriptors) in malformed {
            let files: Vec<File> = (0..descriptors)
                .map(|_| File::open(&sent).unwrap())
                .collect();
            send(&agent, frame, &files);
            let ack = recv(&agent);
            // Response.ack is field 1, Ack.error is field 1, and it is not empty.
            assert!(ack.len() > 4 && ack[0] == 0x0a, "{ack:?}");
        }
        send(&agent, &DEL, &[]);
        agent
    });
    let request = client.recv().await.unwrap();
    assert!(matches!(request, Some(Request::Del(uid)) if uid == "u"));
    let agent = broken.join().unwrap();
    assert_eq!(open_on(&marker), 0);
    drop(agent);
    assert!(client.recv().await.unwrap().is_none());
}

fn recv(socket: &OwnedFd) -> Vec<u8> {
    let mut frame = vec![0; 4096];
    let length = rustix::net::recv(socket, &mut frame[..], RecvFlags::empty())
        .unwrap()
        .0;
    frame.truncate(length);
    frame
}

#[tokio::test]
async fn bind_replaces_a_stale_socket_and_lets_only_the_owner_in() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = place();
    std::fs::write(&place.path, "stale").unwrap();
    let server = Server::bind(&place.path).unwrap();
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Client::connect(&place.path).await.is_ok());
    drop(server);
    assert!(Client::connect(&place.path).await.is_err());
    assert!(!place.path.exists());
}
