//! The headers of a request and of an answer, as far as anybody asks for them.
//!
//! Invariants: what RFC 9113 section 8 calls malformed is found out here; of fields, only those that somebody reads are
//! kept.

/// The fields that are kept.
const WANTED: [&str; 4] = ["baggage", "forwarded", "traceparent", "culvert-deny-reason"];

/// Fields by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(&'static str, Box<[u8]>)>);

impl Fields {
    /// Adds a field, if it is one of those that are kept.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if let Some(name) = WANTED.iter().find(|wanted| wanted.as_bytes() == name) {
            self.0.push((name, value.into()));
        }
    }

    /// Adds a field of ours.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.as_bytes().into()));
    }

    /// All values of a field.
    pub(crate) fn get(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(n, _)| *n == name)
            .map(|(_, v)| &v[..])
    }

    /// All fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.0.iter().map(|(name, value)| (*name, &value[..]))
    }
}

/// The headers of a request or of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Option<Box<[u8]>>,
    pub(crate) authority: Option<Box<[u8]>>,
    pub(crate) status: Option<u16>,
    pub(crate) fields: Fields,
}

impl Head {
    /// Whether a request is a CONNECT.
    pub(crate) fn is_connect(&self) -> bool {
        self.method.as_deref() == Some(b"CONNECT")
    }
}

/// Reads a header list.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    head: Head,
    scheme: bool,
    path: bool,
    protocol: bool,
    regular: bool,
    malformed: bool,
}

impl Reader {
    /// The next field.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        let good = match name.strip_prefix(b":") {
            Some(name) => !self.regular && self.pseudo(name, value),
            None => {
                self.regular = true;
                self.head.fields.push(name, value);
                is_name(name) && !is_of_connection(name, value)
            }
        };
        if !good || !is_value(value) {
            self.malformed = true;
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let once = |seen: &mut bool| !std::mem::replace(seen, true);
        match name {
            b"method" => is_token(value) && self.head.method.replace(value.into()).is_none(),
            b"authority" => self.head.authority.replace(value.into()).is_none(),
            b"scheme" => !value.is_empty() && once(&mut self.scheme),
            b"path" => !value.is_empty() && once(&mut self.path),
            b"protocol" => !value.is_empty() && once(&mut self.protocol),
            b"status" => {
                let status = status(value);
                status.is_some() && std::mem::replace(&mut self.head.status, status).is_none()
            }
            _ => false,
        }
    }

    /// A request, if it is none that is malformed. One that has another method than CONNECT, or a protocol, is well-formed,
    /// though nothing that we serve.
    pub(crate) fn request(self) -> Option<Head> {
        let connect = self.head.is_connect() && !self.protocol;
        let complete = if connect {
            !self.scheme && !self.path && self.head.authority.is_some()
        } else {
            self.head.method.is_some() && self.scheme && self.path
        };
        let mut head = self.head;
        if self.protocol {
            // Extended CONNECT, which we never offered.
            head.method = Some((*b"extended CONNECT").into());
        }
        (complete && !self.malformed && head.status.is_none()).then_some(head)
    }

    /// An answer, likewise.
    pub(crate) fn answer(self) -> Option<Head> {
        let request = self.head.method.is_some()
            || self.head.authority.is_some()
            || self.scheme
            || self.path
            || self.protocol;
        (self.head.status.is_some() && !request && !self.malformed).then_some(self.head)
    }

    /// Whether this is a trailer section that is not malformed.
    pub(crate) fn is_trailer(&self) -> bool {
        let pseudo = self.head.method.is_some()
            || self.head.authority.is_some()
            || self.head.status.is_some()
            || self.scheme
            || self.path
            || self.protocol;
        !pseudo && !self.malformed
    }
}

fn status(value: &[u8]) -> Option<u16> {
    let [first @ b'1'..=b'9', second, third] = value else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    Some(digit(first)? * 100 + digit(second)? * 10 + digit(third)?)
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(token)
}

/// RFC 9113 section 8.2.1.
fn is_name(bytes: &[u8]) -> bool {
    is_token(bytes) && !bytes.iter().any(u8::is_ascii_uppercase)
}

/// RFC 9113 section 8.2.1.
fn is_value(bytes: &[u8]) -> bool {
    let edge = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !bytes.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
        && !edge(bytes.first())
        && !edge(bytes.last())
}

/// RFC 9113 section 8.2.2: fields that are about the connection, which HTTP/2 does not have.
fn is_of_connection(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            true
        }
        b"te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Reader {
        let mut reader = Reader::default();
        for (name, value) in fields {
            reader.field(name.as_bytes(), value.as_bytes());
        }
        reader
    }

    const METHOD: (&str, &str) = (":method", "CONNECT");
    const AUTHORITY: (&str, &str) = (":authority", "10.0.0.1:80");

    #[test]
    fn a_connect_is_read() {
        let head = read(&[
            METHOD,
            AUTHORITY,
            ("baggage", "a=b"),
            ("x-other", "c"),
            ("te", "trailers"),
        ]);
        let head = head.request().unwrap();
        assert!(head.is_connect());
        assert_eq!(head.authority.as_deref(), Some(&b"10.0.0.1:80"[..]));
        assert_eq!(head.fields.get("baggage").collect::<Vec<_>>(), [b"a=b"]);
        assert_eq!(
            head.fields.iter().count(),
            1,
            "what nobody reads is not kept"
        );
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        assert!(!read(&get).request().unwrap().is_connect());
        let extended = [
            METHOD,
            AUTHORITY,
            (":scheme", "http"),
            (":path", "/"),
            (":protocol", "websocket"),
        ];
        assert!(!read(&extended).request().unwrap().is_connect());
        assert_eq!(
            read(&[(":status", "503")]).answer().unwrap().status,
            Some(503)
        );
        assert!(read(&[("x", "y")]).is_trailer());
    }

    #[test]
    fn malformed_requests() {
        for fields in [
            &[METHOD][..],
            &[AUTHORITY],
            &[METHOD, AUTHORITY, (":path", "/")],
            &[METHOD, AUTHORITY, (":scheme", "https")],
            &[METHOD, METHOD, AUTHORITY],
            &[METHOD, AUTHORITY, AUTHORITY],
            &[METHOD, ("x", "y"), AUTHORITY],
            &[METHOD, AUTHORITY, (":status", "200")],
            &[METHOD, AUTHORITY, (":unknown", "x")],
            &[METHOD, AUTHORITY, ("Upper", "x")],
            &[METHOD, AUTHORITY, ("", "x")],
            &[METHOD, AUTHORITY, ("sp ace", "x")],
            &[METHOD, AUTHORITY, ("connection", "close")],
            &[METHOD, AUTHORITY, ("transfer-encoding", "chunked")],
            &[METHOD, AUTHORITY, ("te", "gzip")],
            &[METHOD, AUTHORITY, ("x", "a\nb")],
            &[METHOD, AUTHORITY, ("x", "a\0b")],
            &[METHOD, AUTHORITY, ("x", " a")],
            &[METHOD, (":authority", "10.0.0.1:80\r")],
            &[(":method", "GET"), (":scheme", "http")],
            &[(":method", "GET"), (":path", "/")],
            &[(":method", "GET"), (":scheme", "http"), (":path", "")],
            &[(":method", "G T"), (":scheme", "http"), (":path", "/")],
        ] {
            assert_eq!(read(fields).request(), None, "{fields:?}");
        }
    }

    #[test]
    fn malformed_answers_and_trailers() {
        for fields in [
            &[][..],
            &[(":status", "20")],
            &[(":status", "+20")],
            &[(":status", "2000")],
            &[(":status", "200"), (":status", "200")],
            &[(":status", "200"), (":method", "GET")],
            &[("x", "y"), (":status", "200")],
        ] {
            assert_eq!(read(fields).answer(), None, "{fields:?}");
        }
        assert!(!read(&[(":status", "200")]).is_trailer());
        assert!(!read(&[("x", "a\rb")]).is_trailer());
    }
}
