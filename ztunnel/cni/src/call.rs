//! A call as the CNI specification (0.3 to 1.1) has it: the environment and the configuration on standard input.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

/// A configuration of more than this is none.
pub(crate) const LONGEST: u64 = 4 << 20;
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What the runtime wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    /// It is answered as it is asked: with nothing to say.
    Quiet,
    Version,
}

/// A whole call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) container: String,
    pub(crate) netns: PathBuf,
    pub(crate) run_dir: PathBuf,
    /// Of CNI_ARGS; empty where it is not said.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The result of the plugins before.
    pub(crate) previous: Option<Value>,
}

/// What a runtime is told when a call fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u32,
    pub(crate) message: String,
}

impl Failure {
    /// The call itself is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: 7,
            message: message.into(),
        }
    }

    /// It may work later.
    pub(crate) fn later(message: impl Into<String>) -> Self {
        Self {
            code: 11,
            message: message.into(),
        }
    }

    pub(crate) fn to_json(&self, version: &str) -> String {
        let Self { code, message } = self;
        format!(
            "{}\n",
            json!({ "cniVersion": version, "code": code, "msg": message })
        )
    }
}

impl Call {
    pub(crate) fn parse(
        env: impl Fn(&str) -> Option<String>,
        config: &[u8],
    ) -> Result<Self, Failure> {
        let command = env("CNI_COMMAND").unwrap_or_default();
        let verb = match command.as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" | "STATUS" | "GC" => Verb::Quiet,
            "VERSION" => Verb::Version,
            other => {
                return Err(Failure {
                    code: 4,
                    message: format!("CNI_COMMAND is {other:?}"),
                });
            }
        };
        let config: Value = match serde_json::from_slice(config) {
            Ok(config) => config,
            // Nothing else is needed to say the versions, or to say nothing.
            Err(_) if matches!(verb, Verb::Version | Verb::Quiet) => Value::Null,
            Err(error) => {
                return Err(Failure {
                    code: 6,
                    message: format!("configuration: {error}"),
                });
            }
        };
        let run_dir = config
            .get("runDir")
            .and_then(Value::as_str)
            .unwrap_or("/run/culvert");
        let mut args = args(&env("CNI_ARGS").unwrap_or_default());
        let mut take = |key: &str| args.remove(key).unwrap_or_default();
        Ok(Self {
            verb,
            container: env("CNI_CONTAINERID").unwrap_or_default(),
            netns: env("CNI_NETNS").unwrap_or_default().into(),
            run_dir: run_dir.into(),
            namespace: take("K8S_POD_NAMESPACE"),
            name: take("K8S_POD_NAME"),
            uid: take("K8S_POD_UID"),
            previous: config
                .get("prevResult")
                .filter(|value| !value.is_null())
                .cloned(),
        })
    }

    /// The pod's addresses, as the plugins before assigned them.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self
            .previous
            .as_ref()
            .and_then(|result| result.get("ips")?.as_array());
        let address = |ip: &Value| {
            let text = ip.get("address")?.as_str()?;
            text.split('/').next()?.parse().ok()
        };
        ips.into_iter().flatten().filter_map(address).collect()
    }
}

/// The answer to VERSION.
pub(crate) fn versions(version: &str) -> String {
    format!(
        "{}\n",
        json!({ "cniVersion": version, "supportedVersions": VERSIONS })
    )
}

/// The version that the configuration is written in.
pub(crate) fn version(config: &[u8]) -> String {
    let config: Option<Value> = serde_json::from_slice(config).ok();
    let version = config
        .as_ref()
        .and_then(|config| config.get("cniVersion")?.as_str());
    version.unwrap_or("1.0.0").to_owned()
}

fn args(text: &str) -> HashMap<String, String> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"cniVersion": "0.4.0", "name": "n", "type": "culvert-cni", "runDir": "/r",
        "prevResult": {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0"}],
            "ips": [{"version": "4", "address": "10.244.1.5/24"}, {"address": "fd00::5/64"}, {"address": "x"}, 7]}}"#;

    fn call(command: &str, args: &str, config: &str) -> Result<Call, Failure> {
        let env = |name: &str| match name {
            "CNI_COMMAND" => Some(command.to_owned()),
            "CNI_ARGS" => Some(args.to_owned()),
            "CNI_NETNS" => Some("/var/run/netns/x".to_owned()),
            _ => None,
        };
        Call::parse(env, config.as_bytes())
    }

    #[test]
    fn a_runtimes_call_is_read() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u";
        let call = call("ADD", args, CONFIG).unwrap();
        assert_eq!(
            (call.verb, &*call.namespace, &*call.name, &*call.uid),
            (Verb::Add, "demo", "web-0", "u")
        );
        let expected: [IpAddr; 2] = ["10.244.1.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(call.addresses(), expected);
        assert_eq!(call.run_dir, PathBuf::from("/r"));
    }

    #[test]
    fn odd_calls() {
        assert_eq!(call("FLY", "", CONFIG).unwrap_err().code, 4);
        assert_eq!(call("ADD", "", "{").unwrap_err().code, 6);
        assert_eq!(call("VERSION", "", "").unwrap().verb, Verb::Version);
        for quiet in ["CHECK", "STATUS", "GC"] {
            assert_eq!(call(quiet, "", "{}").unwrap().verb, Verb::Quiet);
        }
        let bare = call("ADD", ";;=;x", "{}").unwrap();
        assert!(
            bare.namespace.is_empty() && bare.previous.is_none() && bare.addresses().is_empty()
        );
        assert_eq!(
            (version(b""), version(CONFIG.as_bytes())),
            ("1.0.0".into(), "0.4.0".into())
        );
        let failure: Value = serde_json::from_str(&Failure::later("no").to_json("0.4.0")).unwrap();
        assert_eq!(
            failure,
            json!({"cniVersion": "0.4.0", "code": 11, "msg": "no"})
        );
    }
}
