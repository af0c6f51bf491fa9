//! What the kernel says of sockets made here. Marks and foreign sources need CAP_NET_ADMIN and are
//! exercised by the suites in network namespaces.

use super::*;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn dialled_and_accepted_connections_have_keepalive_and_no_delay() {
    let listener = listen(loopback(), &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = tcp_socket(&addr, &SocketOptions::default()).unwrap();
    let dialled = connect(socket, addr, Duration::from_secs(5)).await.unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    for stream in [dialled, accepted] {
        let options = SockRef::from(&stream);
        let seconds = Duration::from_secs;
        assert!(options.tcp_nodelay().unwrap());
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), seconds(180));
        assert_eq!(options.tcp_keepalive_interval().unwrap(), seconds(180));
        assert_eq!(options.tcp_keepalive_retries().unwrap(), 9);
    }
}

#[test]
fn source_of_another_family_is_refused() {
    let options = SocketOptions {
        mark: None,
        source: Some("::1".parse().unwrap()),
    };
    let error = tcp_socket(&loopback(), &options).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_refused_dial_is_an_error() {
    let free = listen(loopback(), &ListenOptions::default())
        .unwrap()
        .local_addr()
        .unwrap();
    let socket = tcp_socket(&free, &SocketOptions::default()).unwrap();
    let error = connect(socket, free, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dial_that_nobody_answers_ends_at_its_deadline() {
    // A listener whose queue is full drops the SYN: the dial can only end by its deadline.
    let options = ListenOptions {
        backlog: 0,
        ..ListenOptions::default()
    };
    let listener = listen(loopback(), &options).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let error = loop {
        let socket = tcp_socket(&addr, &SocketOptions::default()).unwrap();
        match connect(socket, addr, Duration::from_millis(300)).await {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
        assert!(queued.len() < 16, "the queue of one never filled");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_connection_that_was_not_redirected_has_no_other_destination() {
    let listener = listen(loopback(), &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = tcp_socket(&addr, &SocketOptions::default()).unwrap();
    let _client = connect(socket, addr, Duration::from_secs(5)).await.unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (accepted, client) = listener.accept().await.unwrap();
    if let Ok(destination) = original_dst(&accepted, client) {
        assert_eq!(destination, addr);
    }
}

#[test]
fn the_wildcard_takes_both_families_and_reuse_port_lets_a_second_listener_in() {
    let options = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let first = listen("[::]:0".parse().unwrap(), &options).unwrap();
    let port = first.local_addr().unwrap().port();
    listen(SocketAddr::new("::".parse().unwrap(), port), &options).unwrap();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(listen(loopback_port(port), &ListenOptions::default()).is_err());
}

fn loopback_port(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn mapped_addresses_have_one_form() {
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
    assert_eq!(canonical(mapped), "10.0.0.1:80".parse().unwrap());
    let v6: SocketAddr = "[fd00::1]:80".parse().unwrap();
    assert_eq!(canonical(v6), v6);
}
