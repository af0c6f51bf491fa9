//! Golden texts of well-known CNI plugins, and any others.

use super::*;
use proptest::prelude::*;

const RUN: &str = "/run/culvert";
const OURS: &str = r#", {"runDir":"/run/culvert","type":"culvert-cni"}"#;

const CALICO: &str = r#"{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_file_path": "/var/log/calico/cni/cni.log",
      "mtu": 1.50e3,
      "ipam": {"type": "calico-ipam", "plugins": ["a]", "}\""]}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
  ]
}
"#;
const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"}]}"#;

#[test]
fn ours_comes_last_and_nothing_else_changes() {
    let edited = insert(CALICO, RUN).unwrap().unwrap();
    let expected = CALICO.replace("true}}\n  ]", &format!("true}}}}{OURS}\n  ]"));
    assert_eq!(edited, expected);
    assert_eq!(insert(&edited, RUN).unwrap(), None, "done");
    assert!(has_ours(&edited) && !has_ours(CALICO));
    assert_eq!(remove(&edited).unwrap().unwrap(), CALICO);
    assert_eq!(remove(CALICO).unwrap(), None);
}

#[test]
fn another_run_directory_or_place_is_put_right() {
    let edited = insert(BRIDGE, RUN).unwrap().unwrap();
    let moved = insert(&edited, "/elsewhere").unwrap().unwrap();
    assert!(moved.contains("/elsewhere") && !moved.contains(RUN));
    let first = BRIDGE.replace(
        "[{",
        r#"[{"type":"culvert-cni","runDir":"/run/culvert"}, {"#,
    );
    assert_eq!(insert(&first, RUN).unwrap().unwrap(), edited);
    let twice = insert(BRIDGE, RUN)
        .unwrap()
        .unwrap()
        .replace(OURS, &OURS.repeat(2));
    assert_eq!(insert(&twice, RUN).unwrap().unwrap(), edited);
    // Somebody wrote it anew, their way.
    let pretty = serde_json::to_string_pretty(&parse(&edited).unwrap()).unwrap();
    assert_eq!(insert(&pretty, RUN).unwrap(), None);
    let without = remove(&pretty).unwrap().unwrap();
    assert_eq!(parse(&without).unwrap(), parse(BRIDGE).unwrap());
}

#[test]
fn one_plugin_becomes_a_list() {
    let conf = r#"{"cniVersion": "0.3.1", "name": "mynet", "type": "bridge", "x": 1.0}"#;
    let list = convert(conf, RUN).unwrap();
    assert!(list.contains(conf), "{list}");
    let value = parse(&list).unwrap();
    assert_eq!(value["name"], "mynet");
    assert_eq!(value["cniVersion"], "0.3.1");
    assert_eq!(value["plugins"][1]["type"], PLUGIN);
    assert_eq!(insert(&list, RUN).unwrap(), None);
}

#[test]
fn what_is_no_configuration_is_left_alone() {
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"plugins": {}}"#,
        r#"{"plugins": []}"#,
        r#"{"plugins": [{}]}"#,
        r#"{"plugins": [1]}"#,
    ] {
        assert!(insert(text, RUN).is_err(), "{text}");
        assert!(remove(text).is_err(), "{text}");
        assert!(convert(text, RUN).is_err(), "{text}");
    }
    let only = r#"{"plugins": [{"type": "culvert-cni"}]}"#;
    assert!(
        insert(only, RUN).is_err(),
        "nothing gives the pod a network"
    );
}

/// Any JSON with any white space between.
fn json() -> impl Strategy<Value = String> {
    let string = "[a-z\\[\\]{},:\" \\\\é]{0,6}".prop_map(|text| Value::from(text).to_string());
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.0e2".to_owned()),
        Just("\"plugins\"".to_owned()),
        string.clone()
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let member = (string.clone(), "[ \n\t]{0,2}", inner.clone())
            .prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
        prop_oneof![
            (proptest::collection::vec(inner, 0..3), "[ \n]{0,2}").prop_map(
                |(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},")))
            ),
            proptest::collection::vec(member, 0..3)
                .prop_map(|members| format!("{{{}}}", members.join(" , "))),
        ]
    })
}

fn list() -> impl Strategy<Value = String> {
    let plugin = (json(), "[ \n]{0,2}").prop_map(|(value, space)| {
        format!("{{{space}\"type\":{space}\"p\", \"v\" :{value}{space}}}")
    });
    let plugins = proptest::collection::vec(plugin, 1..4);
    (json(), plugins, json(), "[ \n\t]{0,3}").prop_map(|(before, plugins, after, space)| {
        let plugins = plugins.join(&format!("{space},{space}"));
        format!("{space}{{\"before\":{before},{space}\"plugins\"{space}:{space}[{space}{plugins}{space}],\"after\":{after}}}{space}")
    })
}

proptest! {
    #[test]
    fn removing_after_inserting_gives_the_original(text in list()) {
        let edited = insert(&text, RUN).unwrap().unwrap();
        let (mut value, original) = (parse(&edited).unwrap(), parse(&text).unwrap());
        let ours = value["plugins"].as_array_mut().unwrap().pop().unwrap();
        prop_assert!(is_ours(&ours));
        prop_assert_eq!(value, original);
        prop_assert_eq!(insert(&edited, RUN).unwrap(), None);
        prop_assert_eq!(remove(&edited).unwrap().unwrap(), text);
    }

    #[test]
    fn no_text_breaks_it(text in "[\\[\\]{}\",: a-z\\\\]{0,40}|.{0,30}") {
        drop(insert(&text, RUN));
        drop(remove(&text));
        drop(elements(&text));
    }
}
