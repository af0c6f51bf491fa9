//! ConfigMaps, of which the certificates in `ca.crt` count and nothing else.

use std::sync::Arc;

use boring::x509::X509;
use serde_json::Value;

use super::{made, meta};
use crate::model::{CaBundle, Kind, Obj};
use crate::path::{Issue, Issues};

/// The entry that is read.
pub(crate) const ENTRY: &str = "ca.crt";

/// That what it holds is no good is said where it is used.
pub(super) fn admit(value: &Value) -> Result<Arc<Obj<CaBundle>>, Vec<Issue>> {
    let mut issues = Issues::default();
    let meta = meta::read(Kind::ConfigMap, value, &mut issues)?;
    let certificates = certificates(&value["data"][ENTRY]);
    made(meta, CaBundle { certificates }, issues)
}

fn certificates(entry: &Value) -> Result<Arc<str>, String> {
    let text = entry.as_str();
    let text = text.ok_or_else(|| format!("{ENTRY} is missing"))?;
    match X509::stack_from_pem(text.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => Ok(text.into()),
        Ok(_) => Err(format!("{ENTRY} holds no certificate in PEM")),
        Err(_) => Err(format!(
            "{ENTRY} holds what cannot be read as a certificate"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::admit;
    use crate::model::Object;
    use crate::testing::{config_map, pairs};

    fn held(text: &str) -> Result<Arc<str>, String> {
        match admit(&config_map("demo", "ca", text)) {
            Ok(Object::ConfigMap(bundle)) => bundle.spec.certificates.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_certificate_at_least_and_none_that_cannot_be_read() {
        let [(one, key), (other, _)] = pairs();
        assert_eq!(held(one).as_deref(), Ok(one.as_str()));
        let both = format!("# two authorities\n{one}\n{other}");
        assert_eq!(held(&both).as_deref(), Ok(both.as_str()));
        for empty in ["", "no certificate", key] {
            let problem = held(empty).unwrap_err();
            assert_eq!(problem, "ca.crt holds no certificate in PEM", "{empty}");
        }
        let broken = one.replacen("MII", "AII", 1);
        for broken in [broken.clone(), format!("{other}{broken}")] {
            assert!(held(&broken).unwrap_err().contains("cannot be read"));
        }
        let mut none = config_map("demo", "ca", one);
        none["data"] = serde_json::json!({"other": "x"});
        let Object::ConfigMap(none) = admit(&none).unwrap() else {
            panic!()
        };
        assert_eq!(
            none.spec.certificates.as_ref().unwrap_err(),
            "ca.crt is missing"
        );
    }
}
