//! How an operator says where the controller is and how to prove oneself to it: the same for every program.
//!
//! Invariant: the controller is known by its address, never by a name, so that a node can start before DNS does.

use super::{Auth, SERVER_NAME};
use crate::token::{self, TokenError, TokenKind};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Kubelet sets these two for the Service `culvert-controller` in the pod's own namespace.
const HOST: &str = "CULVERT_CONTROLLER_SERVICE_HOST";
const PORT: &str = "CULVERT_CONTROLLER_SERVICE_PORT";

/// What is wrong with how the controller is to be reached.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Nobody says where it is.
    #[error("--controller is missing, and so is {HOST}")]
    Nowhere,
    /// Not IP and port.
    #[error("--controller {0:?}: not an IP address and a port")]
    Address(String),
    /// The environment says something odd.
    #[error("{HOST}={host:?} and {PORT}={port:?} are not an IP address and a port")]
    Environment {
        /// The first.
        host: String,
        /// The second.
        port: String,
    },
    /// The token's file.
    #[error("--token-file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds no join token.
    #[error("--token-file {path}: {source}")]
    Token {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
    /// The join token is somebody else's.
    #[error("--token-file {path}: this is the token of {owner}, not of {wanted}")]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: String,
        /// Whose it should be.
        wanted: String,
    },
}

/// The credentials that the flags name.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// `--token-file`.
    pub token_file: &'a Path,
    /// `--root-file`: with it, the token is a service account's, else a join token.
    pub root_file: Option<&'a Path>,
}

impl Access<'_> {
    /// The credentials of the node or waypoint `name`. A join token must be its own; of a service account's token the
    /// controller finds out.
    pub fn auth(&self, kind: TokenKind, name: &str) -> Result<Auth, AccessError> {
        let path = self.token_file.to_owned();
        if let Some(root) = self.root_file {
            return Ok(Auth::Mounted {
                root_path: root.to_owned(),
                token_path: path,
                server_name: SERVER_NAME.to_owned(),
            });
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(AccessError::File { path, source }),
        };
        let body = match token::parse_unverified(&text) {
            Ok(body) => body,
            Err(source) => return Err(AccessError::Token { path, source }),
        };
        if body.kind != kind || body.name != name {
            return Err(AccessError::Owner {
                path,
                owner: described(body.kind, &body.name),
                wanted: described(kind, name),
            });
        }
        Ok(Auth::JoinToken(text.trim().to_owned()))
    }
}

/// Where the controller is: what `--controller` says, or else what kubelet says of its Service.
pub fn address(
    given: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<SocketAddr, AccessError> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        let parsed = given.parse();
        return parsed.map_err(|_| AccessError::Address(given.to_owned()));
    }
    let (Some(host), Some(port)) = (env(HOST), env(PORT)) else {
        return Err(AccessError::Nowhere);
    };
    match (host.parse::<IpAddr>(), port.parse::<u16>()) {
        (Ok(ip), Ok(port)) if port != 0 => Ok((ip, port).into()),
        _ => Err(AccessError::Environment { host, port }),
    }
}

fn described(kind: TokenKind, name: &str) -> String {
    match kind {
        TokenKind::Node => format!("node {name:?}"),
        TokenKind::Waypoint => format!("waypoint {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn token(dir: &tempfile::TempDir, kind: &str, name: &str) -> PathBuf {
        let body = format!(r#"{{"kind":"{kind}","name":"{name}","root":"ab"}}"#);
        let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(body);
        let path = dir.path().join(format!("{kind}-{name}"));
        std::fs::write(&path, format!("{body}.c2ln\n")).unwrap();
        path
    }

    #[test]
    fn a_join_token_is_its_bearers_own() {
        let dir = tempfile::tempdir().unwrap();
        let auth = |path: &Path| {
            let access = Access {
                token_file: path,
                root_file: None,
            };
            access.auth(TokenKind::Node, "n1")
        };
        let Auth::JoinToken(text) = auth(&token(&dir, "node", "n1")).unwrap() else {
            panic!("not a join token");
        };
        assert!(!text.ends_with('\n'));
        for (kind, name) in [("node", "n2"), ("waypoint", "n1")] {
            let error = auth(&token(&dir, kind, name)).unwrap_err().to_string();
            let says = format!("token of {kind} \"{name}\", not of node \"n1\"");
            assert!(error.contains(&says), "{error}");
        }
        let missing = auth(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, AccessError::File { .. }), "{missing}");
    }

    #[test]
    fn with_a_root_neither_file_needs_to_be_there_yet() {
        let access = Access {
            token_file: Path::new("/nowhere/token"),
            root_file: Some(Path::new("/nowhere/root.crt")),
        };
        let auth = access.auth(TokenKind::Waypoint, "demo/gate").unwrap();
        assert!(matches!(auth, Auth::Mounted { server_name, .. } if server_name == SERVER_NAME));
    }

    #[test]
    fn the_flag_counts_before_the_service() {
        let service = |host: &'static str, port: &'static str| {
            move |name: &str| match name {
                HOST => Some(host.to_owned()),
                PORT => Some(port.to_owned()),
                _ => None,
            }
        };
        let v4 = address(None, service("10.96.0.9", "15012")).unwrap();
        assert_eq!(v4, "10.96.0.9:15012".parse().unwrap());
        let v6 = address(Some(""), service("fd00::9", "15012")).unwrap();
        assert_eq!(v6, "[fd00::9]:15012".parse().unwrap());
        let given = address(Some("10.0.0.1:1"), service("10.96.0.9", "15012")).unwrap();
        assert_eq!(given, "10.0.0.1:1".parse().unwrap());
        for wrong in ["controller:15012", "10.0.0.1"] {
            let error = address(Some(wrong), |_| None).unwrap_err();
            assert!(matches!(error, AccessError::Address(_)), "{error}");
        }
        assert!(matches!(address(None, |_| None), Err(AccessError::Nowhere)));
        let error = address(None, service("controller", "15012")).unwrap_err();
        assert!(error.to_string().contains("\"controller\""), "{error}");
    }
}
