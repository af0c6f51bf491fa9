//! The messages, parsed from and to bytes. Pure: no sockets, so that a fuzzer can reach all of it.

use std::net::IpAddr;

use culvert_proto::istio::workload::zds as proto;
use prost::Message as _;
use prost::bytes::Bytes;

use crate::{DecodeError, MAX_FRAME, ZdsError};

/// SO_MARK that the capture rules let past where the agent names no other: that of a stock mesh.
pub const WELL_KNOWN_MARK: u32 = 0x539;

/// A longer error is cut, so that an Ack always fits into a packet.
const MAX_ERROR: usize = 900;

/// A pod whose traffic the ztunnel is to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Names the pod for as long as it lives.
    pub uid: String,
    /// Who the pod is. An old stock agent may not say.
    pub info: Option<WorkloadInfo>,
    /// SO_MARK of the ztunnel's own sockets in the pod's namespace; never 0.
    pub mark: u32,
    /// The pod's own addresses; empty from a stock agent.
    pub addresses: Vec<IpAddr>,
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadInfo {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
}

/// A request of the agent, without the descriptor that comes beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Serve this pod. Comes with one descriptor, its network namespace.
    Add(Workload),
    /// The pod of this uid is unchanged.
    Keep(String),
    /// Stop serving the pod of this uid.
    Del(String),
    /// What was not named until now no longer exists.
    SnapshotSent,
}

impl Message {
    /// The message's name, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "Add",
            Self::Keep(_) => "Keep",
            Self::Del(_) => "Del",
            Self::SnapshotSent => "SnapshotSent",
        }
    }

    /// How many descriptors come with it.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, Self::Add(_)))
    }

    /// The packet, with the fields of our own only for a peer that knows them.
    pub(crate) fn encode(&self, culvert: bool) -> Result<Vec<u8>, ZdsError> {
        use proto::workload_request::Payload;
        let payload = match self {
            Self::Add(workload) => Payload::Add(workload.to_proto(culvert)),
            Self::Keep(uid) => Payload::Keep(proto::KeepWorkload { uid: uid.clone() }),
            Self::Del(uid) => Payload::Del(proto::DelWorkload { uid: uid.clone() }),
            Self::SnapshotSent => Payload::SnapshotSent(proto::SnapshotSent {}),
        };
        let request = proto::WorkloadRequest {
            payload: Some(payload),
        };
        let frame = request.encode_to_vec();
        if frame.len() > MAX_FRAME {
            return Err(ZdsError::TooLong(frame.len()));
        }
        Ok(frame)
    }
}

impl Workload {
    fn to_proto(&self, culvert: bool) -> proto::AddWorkload {
        let address = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
        };
        let (mark, addresses) = if culvert {
            (self.mark, self.addresses.iter().map(address).collect())
        } else {
            (0, Vec::new())
        };
        proto::AddWorkload {
            uid: self.uid.clone(),
            workload_info: self.info.as_ref().map(|info| proto::WorkloadInfo {
                name: info.name.clone(),
                namespace: info.namespace.clone(),
                service_account: info.service_account.clone(),
            }),
            mark,
            addresses,
        }
    }

    fn from_proto(add: proto::AddWorkload) -> Result<Self, DecodeError> {
        let uid = named("Add", add.uid)?;
        let mut addresses = Vec::with_capacity(add.addresses.len());
        for bytes in add.addresses {
            let v4 = <[u8; 4]>::try_from(&*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(&*bytes).map(IpAddr::from));
            addresses.push(address.map_err(|_| DecodeError::Address {
                uid: uid.clone(),
                length: bytes.len(),
            })?);
        }
        let info = add.workload_info.map(|info| WorkloadInfo {
            name: info.name,
            namespace: info.namespace,
            service_account: info.service_account,
        });
        let mark = match add.mark {
            0 => WELL_KNOWN_MARK,
            mark => mark,
        };
        Ok(Self {
            uid,
            info,
            mark,
            addresses,
        })
    }
}

/// Parse an agent's request.
pub fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    use proto::workload_request::Payload;
    let request = proto::WorkloadRequest::decode(frame).map_err(protobuf)?;
    Ok(match request.payload.ok_or(DecodeError::NoPayload)? {
        Payload::Add(add) => Message::Add(Workload::from_proto(add)?),
        Payload::Keep(keep) => Message::Keep(named("Keep", keep.uid)?),
        Payload::Del(del) => Message::Del(named("Del", del.uid)?),
        Payload::SnapshotSent(_) => Message::SnapshotSent,
    })
}

/// The ztunnel's first packet, ours.
pub(crate) fn encode_hello() -> Vec<u8> {
    let hello = proto::ZdsHello {
        version: proto::Version::V1.into(),
        culvert: true,
    };
    hello.encode_to_vec()
}

/// Parse a ztunnel's first packet: whether it is a culvert-ztunnel.
pub(crate) fn decode_hello(frame: &[u8]) -> Result<bool, DecodeError> {
    let hello = proto::ZdsHello::decode(frame).map_err(protobuf)?;
    if hello.version != i32::from(proto::Version::V1) {
        return Err(DecodeError::Version(hello.version));
    }
    Ok(hello.culvert)
}

/// The answer to a request.
pub(crate) fn encode_ack(result: Result<(), &str>) -> Vec<u8> {
    use proto::workload_response::Payload;
    let mut error = result.err().unwrap_or_default();
    if error.len() > MAX_ERROR {
        let end = (0..=MAX_ERROR)
            .rev()
            .find(|&end| error.is_char_boundary(end));
        error = error.get(..end.unwrap_or_default()).unwrap_or_default();
    } else if result == Err("") {
        // An empty error would read as success.
        error = "unknown error";
    }
    let response = proto::WorkloadResponse {
        payload: Some(Payload::Ack(proto::Ack {
            error: error.to_owned(),
        })),
    };
    response.encode_to_vec()
}

/// Parse the answer to a request.
pub(crate) fn decode_ack(frame: &[u8]) -> Result<Result<(), String>, DecodeError> {
    use proto::workload_response::Payload;
    let response = proto::WorkloadResponse::decode(frame).map_err(protobuf)?;
    let Payload::Ack(ack) = response.payload.ok_or(DecodeError::NoPayload)?;
    Ok(if ack.error.is_empty() {
        Ok(())
    } else {
        Err(ack.error)
    })
}

fn named(message: &'static str, uid: String) -> Result<String, DecodeError> {
    if uid.is_empty() {
        return Err(DecodeError::NoUid { message });
    }
    Ok(uid)
}

#[expect(clippy::needless_pass_by_value, reason = "shape that map_err takes")]
fn protobuf(error: prost::DecodeError) -> DecodeError {
    DecodeError::Protobuf(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        Workload {
            uid: "Kubernetes//Pod/shop/cart".into(),
            info: Some(WorkloadInfo {
                name: "cart".into(),
                namespace: "shop".into(),
                service_account: "cart".into(),
            }),
            mark: 0xdead_beef,
            addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        }
    }

    #[test]
    fn requests_read_back_as_written() {
        for message in [
            Message::Add(workload()),
            Message::Keep("u".into()),
            Message::Del("u".into()),
            Message::SnapshotSent,
        ] {
            assert_eq!(decode(&message.encode(true).unwrap()), Ok(message));
        }
    }

    #[test]
    fn a_stock_peer_gets_no_field_of_ours_and_the_well_known_mark() {
        let frame = Message::Add(workload()).encode(false).unwrap();
        let Ok(Message::Add(read)) = decode(&frame) else {
            panic!("not an Add")
        };
        assert_eq!((read.mark, read.addresses), (WELL_KNOWN_MARK, Vec::new()));
    }

    #[test]
    fn a_workload_that_does_not_fit_is_refused() {
        let long = Workload {
            uid: "x".repeat(MAX_FRAME),
            ..workload()
        };
        let error = Message::Add(long).encode(true).unwrap_err();
        assert!(matches!(error, ZdsError::TooLong(_)) && !error.is_fatal());
    }

    #[test]
    fn malformed_requests_have_names() {
        assert!(matches!(decode(&[0xff; 8]), Err(DecodeError::Protobuf(_))));
        assert_eq!(decode(&[]), Err(DecodeError::NoPayload));
        let nobody = Message::Del(String::new()).encode(true).unwrap();
        assert_eq!(decode(&nobody), Err(DecodeError::NoUid { message: "Del" }));
        let add = proto::AddWorkload {
            uid: "u".into(),
            addresses: vec![Bytes::from_static(&[1, 2, 3])],
            ..Default::default()
        };
        let request = proto::WorkloadRequest {
            payload: Some(proto::workload_request::Payload::Add(add)),
        };
        let expected = DecodeError::Address {
            uid: "u".into(),
            length: 3,
        };
        assert_eq!(decode(&request.encode_to_vec()), Err(expected));
    }

    #[test]
    fn acks_carry_an_error_that_fits() {
        assert_eq!(decode_ack(&encode_ack(Ok(()))), Ok(Ok(())));
        assert_eq!(decode_ack(&encode_ack(Err("no"))), Ok(Err("no".to_owned())));
        assert!(decode_ack(&encode_ack(Err(""))).unwrap().is_err());
        let long = encode_ack(Err(&"é".repeat(MAX_FRAME)));
        assert!(long.len() <= MAX_FRAME && decode_ack(&long).unwrap().is_err());
        assert_eq!(decode_ack(&[]), Err(DecodeError::NoPayload));
    }

    #[test]
    fn hello_tells_ours_from_stock_and_needs_the_version() {
        assert_eq!(decode_hello(&encode_hello()), Ok(true));
        let stock = proto::ZdsHello {
            version: 1,
            culvert: false,
        };
        assert_eq!(decode_hello(&stock.encode_to_vec()), Ok(false));
        assert_eq!(decode_hello(&[]), Err(DecodeError::Version(0)));
    }
}
