//! What a token says, for how long, and what becomes of one that is made up.

use http::HeaderName;
use proptest::prelude::*;

use super::*;

fn persistence(absolute: u64, idle: u64) -> Persistence {
    let some = |seconds| Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero());
    Persistence {
        carrier: Carrier::Cookie {
            name: "s".into(),
            path: "/".into(),
        },
        absolute: some(absolute),
        idle: some(idle),
        permanent: absolute != 0,
    }
}

const TOKEN: Token = Token {
    backend: 7,
    endpoint: 0xfeed,
    began: 1000,
    told: 1100,
};

fn asks(cookies: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", cookies.parse().unwrap());
    headers
}

#[test]
fn a_token_is_found_among_other_cookies() {
    let text = TOKEN.text();
    assert!(text.len() == LENGTH && !text.contains('.'));
    let cookies = asks(&format!("ss=1; a=b;s={text} ; s=later"));
    let read = Token::read(&persistence(0, 0), &cookies, 5000);
    assert_eq!(read, Some(TOKEN));
}

#[test]
fn sessions_end() {
    let cookies = asks(&format!("s={}", TOKEN.text()));
    let lives =
        |absolute, idle, now| Token::read(&persistence(absolute, idle), &cookies, now).is_some();
    assert!(lives(500, 0, 1499) && !lives(500, 0, 1500));
    assert!(lives(0, 100, 1199) && !lives(0, 100, 1200));
    assert!(!lives(500, 100, 1200) && !lives(150, 100, 1160));
    assert!(lives(500, 100, 900), "another waypoint's clock is ahead");
}

#[test]
fn who_knows_is_not_told_again() {
    let told = |persistence: &Persistence, token, endpoint, now| {
        let mut headers = HeaderMap::new();
        Marker::new(persistence, token, 7).mark(&mut headers, endpoint, now);
        let value = headers.get(SET_COOKIE)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (plain, idle) = (persistence(0, 0), persistence(500, 100));
    assert_eq!(told(&plain, Some(TOKEN), 0xfeed, 1150), None);
    assert_eq!(
        told(&plain, Some(TOKEN), 0xbeef, 1150).unwrap(),
        "s=100000007000000000000beef0000047e0000047e; Path=/; HttpOnly",
        "a new session"
    );
    assert_eq!(
        told(&idle, Some(TOKEN), 0xfeed, 1150).unwrap(),
        "s=100000007000000000000feed000003e80000047e; Max-Age=350; Path=/; HttpOnly",
        "the same session, which goes on"
    );
    let other = Some(Token {
        backend: 8,
        ..TOKEN
    });
    assert!(
        told(&plain, other, 0xfeed, 1150).is_some(),
        "of another backend"
    );
}

#[test]
fn a_header_holds_it_as_well() {
    let name = HeaderName::from_static("x-session");
    let persistence = Persistence {
        carrier: Carrier::Header(name.clone()),
        ..persistence(0, 0)
    };
    let mut headers = HeaderMap::new();
    Marker::new(&persistence, None, 7).mark(&mut headers, 1, 50);
    let read = Token::read(&persistence, &headers, 51).unwrap();
    assert_eq!((read.backend, read.endpoint, read.began), (7, 1, 50));
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_a_token_or_none(text in ".{0,60}") {
        if let Some(token) = Token::parse(&text) {
            prop_assert_eq!(token.text(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn what_is_written_is_read(backend: u32, endpoint: u64, began: u32, told: u32) {
        let token = Token { backend, endpoint, began, told };
        prop_assert_eq!(Token::parse(&token.text()), Some(token));
    }
}
