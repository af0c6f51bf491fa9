//! Who has a host, and since when.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used"
)]

use serde_json::{Value, json};

use super::*;
use crate::testing::{self, mesh_config, object, world};

/// An Ingress that was made in this second, for these hosts.
fn ingress(namespace: &str, name: &str, second: u32, hosts: &[&str]) -> Value {
    let rules: Vec<_> = hosts.iter().map(|host| json!({"host": host})).collect();
    testing::ingress(namespace, name, second, json!({"rules": rules}))
}

fn owner(world: &World, host: &str) -> Option<String> {
    of(world, host).map(|claims| claims.owner.to_string())
}

fn admitted(world: &World, host: &str) -> Vec<String> {
    let claims = of(world, host);
    let admitted = claims.iter().flat_map(|claims| &claims.admitted);
    admitted.map(|one| one.meta.name.to_string()).collect()
}

#[test]
fn the_oldest_has_it_and_the_name_decides_between_those_of_one_age() {
    let mut world = world(&[
        ingress("b", "late", 2, &["x.org", "y.org"]),
        ingress("a", "later", 3, &["x.org"]),
        ingress("b", "early", 1, &["x.org"]),
        ingress("c", "i", 2, &["y.org"]),
    ]);
    assert_eq!(admitted(&world, "x.org"), ["b/early", "b/late"]);
    assert_eq!(admitted(&world, "y.org"), ["b/late"]);
    assert_eq!(owner(&world, "z.org"), None);
    world.put(&object(&mesh_config(
        json!({"ingressHostOwnership": "Shared"}),
    )));
    assert_eq!(admitted(&world, "x.org"), ["b/early", "b/late", "a/later"]);
    assert_eq!(owner(&world, "x.org").as_deref(), Some("b"));
}

#[test]
fn an_old_ingress_takes_no_host_from_a_namespace_that_has_it() {
    let mut world = world(&[
        ingress("old", "i", 1, &["old.org"]),
        ingress("young", "i", 2, &["x.org"]),
    ]);
    let settle = |world: &mut World| {
        let now = owners(world);
        world.ingresses.settle(now);
    };
    settle(&mut world);
    world.put(&object(&ingress("old", "i", 1, &["old.org", "x.org"])));
    assert_eq!(owner(&world, "x.org").as_deref(), Some("young"));
    assert_eq!(admitted(&world, "x.org"), ["young/i"]);
    settle(&mut world);
    // It stays so however the one that has it writes its Ingress anew, until it asks for it no more.
    world.put(&object(&ingress("young", "j", 9, &["x.org"])));
    world.put(&object(&ingress("young", "i", 2, &[])));
    assert_eq!(admitted(&world, "x.org"), ["young/j"]);
    world.put(&object(&ingress("young", "j", 9, &[])));
    assert_eq!(owner(&world, "x.org").as_deref(), Some("old"));
    settle(&mut world);
    world.put(&object(&ingress("young", "i", 0, &["x.org"])));
    assert_eq!(owner(&world, "x.org").as_deref(), Some("old"));
}

#[test]
fn what_is_in_writing_goes_before_age() {
    let objects = [
        ingress("a", "i", 1, &["x.org"]),
        ingress("b", "i", 2, &["x.org", "y.org"]),
    ];
    let mut world = world(&objects);
    let written = Owners::from([
        ("x.org".into(), "b".into()),
        ("gone.org".into(), "c".into()),
    ]);
    let news = world.ingresses.store(written);
    assert_eq!(news.len(), 2);
    assert_eq!(owner(&world, "x.org").as_deref(), Some("b"));
    assert_eq!(
        owners(&world),
        Owners::from([("x.org".into(), "b".into()), ("y.org".into(), "b".into())])
    );
    // A namespace that does not ask for it has no right to it.
    world
        .ingresses
        .store(Owners::from([("x.org".into(), "c".into())]));
    assert_eq!(owner(&world, "x.org").as_deref(), Some("a"));
}

/// An IngressClass of this controller, with parameters or as the default if so said.
fn class(name: &str, controller: &str, rest: Value) -> Value {
    let mut class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": name}, "spec": {"controller": controller}});
    if rest["default"] == true {
        class["metadata"]["annotations"] =
            json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    }
    if rest["parameters"] == true {
        class["spec"]["parameters"] = json!({"kind": "ConfigMap", "name": "p"});
    }
    class
}

#[test]
fn of_others_nothing_counts() {
    let of_class = |name: &str, class: &str| {
        let mut ingress = ingress("a", name, 1, &["x.org"]);
        ingress["spec"]["ingressClassName"] = json!(class);
        ingress
    };
    let (ours, theirs) = ("culvert.dev/ingress", "k8s.io/ingress-nginx");
    let (none, default) = (json!({}), json!({"default": true}));
    let mut unnamed = ingress("a", "i", 1, &["x.org"]);
    unnamed["spec"]["ingressClassName"] = Value::Null;
    for (what, objects, served) in [
        (
            "named culvert, without the class",
            vec![of_class("i", "culvert")],
            true,
        ),
        (
            "another name without a class",
            vec![of_class("i", "edge")],
            false,
        ),
        (
            "a class of ours",
            vec![of_class("i", "edge"), class("edge", ours, none.clone())],
            true,
        ),
        (
            "a class of others",
            vec![of_class("i", "edge"), class("edge", theirs, none.clone())],
            false,
        ),
        (
            "culvert is somebody else's",
            vec![
                of_class("i", "culvert"),
                class("culvert", theirs, none.clone()),
            ],
            false,
        ),
        (
            "parameters",
            vec![
                of_class("i", "edge"),
                class("edge", ours, json!({"parameters": true})),
            ],
            false,
        ),
        (
            "no class, no default",
            vec![unnamed.clone(), class("culvert", ours, none)],
            false,
        ),
        (
            "no class, our default",
            vec![unnamed.clone(), class("edge", ours, default.clone())],
            true,
        ),
        (
            "no class, their default",
            vec![unnamed.clone(), class("edge", theirs, default.clone())],
            false,
        ),
        (
            "two defaults",
            vec![
                unnamed.clone(),
                class("edge", ours, default.clone()),
                class("x", theirs, default.clone()),
            ],
            false,
        ),
    ] {
        let world = world(&objects);
        assert_eq!(of(&world, "x.org").is_some(), served, "{what}");
    }
}

#[test]
fn wildcards_stand_for_one_label() {
    for (wide, host, expected) in [
        ("*.foo.com", "bar.foo.com", true),
        ("*.foo.com", "baz.bar.foo.com", false),
        ("*.foo.com", "foo.com", false),
        ("*.foo.com", "*.foo.com", true),
        ("*.com", "*.foo.com", false),
        ("foo.com", "foo.com", true),
        ("foo.com", "bar.com", false),
        ("", "foo.com", true),
        ("", "", true),
        ("*.foo.com", "", false),
    ] {
        assert_eq!(covers(wide, host), expected, "{wide} {host}");
    }
}

#[test]
fn the_entry_that_names_a_host_goes_first() {
    let tls = |hosts: &[&str], secret: Option<&str>| crate::model::IngressTls {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        secret: secret.map(str::to_owned),
    };
    let ingress = Ingress {
        tls: vec![
            tls(&[], Some("any")),
            tls(&["*.foo.com"], Some("wild")),
            tls(&["bar.foo.com"], None),
            tls(&["bar.foo.com", "x.org"], Some("bar")),
        ],
        ..Ingress::default()
    };
    for (host, expected) in [
        ("bar.foo.com", (3, "bar")),
        ("baz.foo.com", (1, "wild")),
        ("*.foo.com", (1, "wild")),
        ("a.b.foo.com", (0, "any")),
        ("x.org", (3, "bar")),
        ("", (0, "any")),
    ] {
        assert_eq!(entry(&ingress, host), Some(expected), "{host}");
    }
}
