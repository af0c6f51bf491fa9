//! What a Secret holds is good or not, and is never repeated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::admit::admit;
use crate::model::{Object, TlsSecret};
use crate::testing::{pairs, secret};

fn held(value: &Value) -> TlsSecret {
    match admit(value) {
        Ok(Object::Secret(secret)) => secret.spec.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pair_fits_or_is_none() {
    let [(chain, key), (other_chain, other_key)] = pairs();
    let good = held(&secret("demo", "a", (chain, key)));
    assert_eq!(good.problem, None);
    let pair = good.pair.unwrap();
    assert_eq!((&*pair.chain, &*pair.key), (chain.as_str(), key.as_str()));
    let both = format!("{chain}{other_chain}");
    assert!(held(&secret("demo", "a", (&both, key))).pair.is_some());
    let encoded = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "a", "namespace": "demo"},
        "data": {"tls.crt": STANDARD.encode(chain), "tls.key": STANDARD.encode(key)}});
    assert_eq!(held(&encoded).pair, Some(pair));
    for (pair, problem) in [
        ((chain, other_key), "is not the key"),
        ((&"x".to_owned(), key), "tls.crt holds no certificate"),
        ((chain, &"x".to_owned()), "tls.key is no private key"),
    ] {
        let bad = held(&secret("demo", "a", (pair.0, pair.1)));
        assert_eq!(bad.pair, None);
        assert!(bad.problem.unwrap().contains(problem));
    }
    let mut empty = encoded;
    empty["data"] = json!({"tls.crt": "%"});
    assert_eq!(
        held(&empty).problem.as_deref(),
        Some("tls.crt is no base64")
    );
}

#[test]
fn other_types_are_not_read() {
    let mut opaque = secret("demo", "a", ("x", "y"));
    opaque["type"] = json!("Opaque");
    assert_eq!(
        admit(&opaque).unwrap_err().issues[0].field.to_string(),
        "type"
    );
}

#[test]
fn a_key_is_in_no_text() {
    let (chain, key) = &pairs()[0];
    let good = admit(&secret("demo", "a", (chain, key))).unwrap();
    let bad = admit(&secret("demo", "a", ("secret-text", "secret-text"))).unwrap();
    let mut malformed = secret("demo", "a", (chain, key));
    malformed["metadata"]["annotations"] = json!("secret-text");
    let malformed = admit(&malformed).unwrap_err();
    let texts = [
        format!("{good:?} {bad:?} {malformed:?}"),
        serde_json::to_string(&[good, bad]).unwrap(),
    ];
    // A line of it would do for whoever looks for one.
    let line = key.lines().nth(1).unwrap();
    for text in texts {
        assert!(
            !text.contains(line) && !text.contains("secret-text"),
            "{text}"
        );
    }
}
