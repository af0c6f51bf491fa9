//! Whom to ask: what `resolv.conf` says. Its search list is of no use here: names are whole.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// As the C library has it.
const MOST: usize = 3;
const PORT: u16 = 53;
const TIMEOUT: (u64, u64, u64) = (1, 2, 10);
const ATTEMPTS: (u32, u32, u32) = (1, 2, 5);

/// Resolvers, and how patient to be with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    pub(crate) addresses: Vec<SocketAddr>,
    /// For one answer.
    pub(crate) timeout: Duration,
    /// Rounds over all of them.
    pub(crate) attempts: u32,
}

impl Servers {
    /// These, asked as one without options says.
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            timeout: Duration::from_secs(TIMEOUT.1),
            attempts: ATTEMPTS.1,
        }
    }

    /// Those of a file. Without a file that can be read there are none, and no name resolves.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "names outside of the cluster do not resolve");
                Self::new(Vec::new())
            }
        }
    }

    /// Those of a file's text. What is not understood is passed over, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut servers = Self::new(Vec::new());
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    if let Some(ip) = ip.filter(|_| servers.addresses.len() < MOST) {
                        servers.addresses.push(SocketAddr::new(ip, PORT));
                    }
                }
                Some("options") => words.for_each(|option| servers.set(option)),
                _ => {}
            }
        }
        servers
    }

    fn set(&mut self, option: &str) {
        match option.split_once(':') {
            Some(("timeout", seconds)) => {
                if let Ok(seconds) = seconds.parse::<u64>() {
                    self.timeout = Duration::from_secs(seconds.clamp(TIMEOUT.0, TIMEOUT.2));
                }
            }
            Some(("attempts", attempts)) => {
                if let Ok(attempts) = attempts.parse::<u32>() {
                    self.attempts = attempts.clamp(ATTEMPTS.0, ATTEMPTS.2);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_file_says() {
        let text = "# kubelet's\nsearch demo.svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::10\n\
                    nameserver nonsense\nnameserver 10.0.0.3\nnameserver 10.0.0.4\noptions ndots:5 timeout:60 attempts:1\n";
        let servers = Servers::parse(text);
        let addresses = ["10.96.0.10:53", "[fd00::10]:53", "10.0.0.3:53"];
        assert_eq!(
            servers.addresses,
            addresses.map(|address| address.parse().unwrap())
        );
        assert_eq!((servers.timeout.as_secs(), servers.attempts), (10, 1));
        assert_eq!(Servers::parse(""), Servers::new(Vec::new()));
    }
}
