//! W3C baggage with the keys that ambient meshes use to name a workload to each other's telemetry.
//!
//! Invariant: printing and parsing give the same value back; unknown keys and properties are ignored.

use std::fmt;

/// What a peer says of its workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`
    pub cluster: Option<Box<str>>,
    /// `k8s.namespace.name`
    pub namespace: Option<Box<str>>,
    /// Kind of workload (deployment, cronjob, pod, job) and its name: `k8s.KIND.name`.
    pub workload: Option<(WorkloadKind, Box<str>)>,
    /// `service.name`
    pub service: Option<Box<str>>,
    /// `service.version`
    pub version: Option<Box<str>>,
    /// `cloud.region`
    pub region: Option<Box<str>>,
    /// `cloud.availability_zone`
    pub zone: Option<Box<str>>,
}

/// What manages a workload's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A CronJob.
    CronJob,
    /// A Job.
    Job,
    /// Nothing that is known.
    Pod,
}

impl WorkloadKind {
    fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::CronJob => "k8s.cronjob.name",
            Self::Job => "k8s.job.name",
            Self::Pod => "k8s.pod.name",
        }
    }
}

const KINDS: [WorkloadKind; 4] = [
    WorkloadKind::Deployment,
    WorkloadKind::CronJob,
    WorkloadKind::Job,
    WorkloadKind::Pod,
];

impl Baggage {
    /// Parses a header's value. `None` when it isn't baggage.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut baggage = Self::default();
        for member in text.split(',') {
            let member = member.split(';').next().unwrap_or_default();
            let (key, value) = member.split_once('=')?;
            let value = decode(value.trim())?;
            baggage.set(key.trim(), value);
        }
        Some(baggage)
    }

    fn set(&mut self, key: &str, value: Box<str>) {
        let field = match key {
            "k8s.cluster.name" => &mut self.cluster,
            "k8s.namespace.name" => &mut self.namespace,
            "service.name" => &mut self.service,
            "service.version" => &mut self.version,
            "cloud.region" => &mut self.region,
            "cloud.availability_zone" => &mut self.zone,
            _ => {
                if let Some(kind) = KINDS.into_iter().find(|kind| kind.key() == key) {
                    self.workload = Some((kind, value));
                }
                return;
            }
        };
        *field = Some(value);
    }
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = self.workload.as_ref();
        let members = [
            ("k8s.cluster.name", self.cluster.as_deref()),
            ("k8s.namespace.name", self.namespace.as_deref()),
            (
                workload.map_or("", |(kind, _)| kind.key()),
                workload.map(|(_, name)| &**name),
            ),
            ("service.name", self.service.as_deref()),
            ("service.version", self.version.as_deref()),
            ("cloud.region", self.region.as_deref()),
            ("cloud.availability_zone", self.zone.as_deref()),
        ];
        let mut separator = "";
        for (key, value) in members {
            if let Some(value) = value {
                write!(f, "{separator}{key}=")?;
                encode(value, f)?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// Percent-encodes what the grammar of baggage does not allow in a value.
fn encode(value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in value.bytes() {
        match byte {
            b'"' | b',' | b';' | b'\\' | b'%' => write!(f, "%{byte:02X}")?,
            b'!'..=b'~' => write!(f, "{}", char::from(byte))?,
            _ => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

fn decode(value: &str) -> Option<Box<str>> {
    if !value.contains('%') {
        return Some(value.into());
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16);
        let (&[high, low], after) = (digits, after) else {
            return None;
        };
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_the_peers_write_it() {
        let text = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,\
                    service.name=web,service.version=v1,cloud.region=r,cloud.availability_zone=z";
        let baggage = Baggage::parse(text).unwrap();
        assert_eq!(
            baggage.workload,
            Some((WorkloadKind::Deployment, "web".into()))
        );
        assert_eq!(baggage.to_string(), text);
    }

    #[test]
    fn unknown_keys_and_properties_are_ignored() {
        let baggage = Baggage::parse("user=x ; p=1 , service.name = a%20b;ttl=3").unwrap();
        assert_eq!(
            baggage,
            Baggage {
                service: Some("a b".into()),
                ..Baggage::default()
            }
        );
        for text in [
            "",
            "service.name",
            "service.name=%",
            "service.name=%4",
            "service.name=%zz",
            "service.name=%ff",
        ] {
            assert_eq!(Baggage::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_survives(name in "\\PC{0,20}", zone in "[ -~]{0,20}") {
            let baggage = Baggage {
                workload: Some((WorkloadKind::Pod, name.into())),
                zone: Some(zone.into()),
                ..Baggage::default()
            };
            let text = baggage.to_string();
            prop_assert!(text.bytes().all(|b| (b'!'..=b'~').contains(&b)));
            prop_assert_eq!(Baggage::parse(&text), Some(baggage));
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = Baggage::parse(&text);
        }
    }
}
