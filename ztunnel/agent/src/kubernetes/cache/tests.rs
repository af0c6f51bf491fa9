//! What follows from what is known.

use super::*;
use crate::place::Place;
use culvert_enrolment::Map;

fn facts(uid: &str, address: &str) -> Facts {
    Facts {
        uid: uid.into(),
        runtime_uid: uid.into(),
        namespace: "demo".into(),
        name: format!("pod-{uid}"),
        service_account: "default".into(),
        addresses: address.parse().into_iter().collect(),
        labels: Map::new(),
        foreign: None,
        host_network: false,
        ended: false,
        deleting: false,
        options: CaptureOptions::default(),
        mistakes: Vec::new(),
    }
}

fn ambient() -> Map {
    [(keys::DATAPLANE_MODE.to_owned(), "ambient".to_owned())].into()
}

fn synced() -> Cache {
    let mut cache = Cache::default();
    cache.put_namespace("demo".into(), Some("ambient".into()));
    for kind in [Kind::Pods, Kind::Namespaces, Kind::Settings] {
        cache.synced(kind);
    }
    cache
}

fn enrolled(news: &[PodEvent]) -> Vec<(&str, bool)> {
    fn of(event: &PodEvent) -> (&str, bool) {
        match event {
            PodEvent::Upsert(pod) => (&*pod.uid, pod.enrolled),
            other => panic!("{other:?}"),
        }
    }
    news.iter().map(of).collect()
}

fn netns() -> Netns {
    Netns::current().unwrap()
}

#[test]
fn nothing_follows_before_all_is_told() {
    let mut cache = Cache::default();
    cache.put(facts("a", "10.0.0.1"));
    cache.put_namespace("demo".into(), Some("ambient".into()));
    cache.synced(Kind::Pods);
    cache.synced(Kind::Namespaces);
    assert!(cache.news().is_empty());
    cache.synced(Kind::Settings);
    assert_eq!(enrolled(&cache.news()), [("a", true)]);
    assert!(cache.news().is_empty(), "said once");
}

#[test]
fn labels_put_pods_in_and_out() {
    let mut cache = synced();
    cache.put(facts("a", "10.0.0.1"));
    assert_eq!(enrolled(&cache.news()), [("a", true)]);
    cache.put_namespace("demo".into(), None);
    assert_eq!(enrolled(&cache.news()), [("a", false)]);
    let labels = ambient();
    cache.put(Facts {
        labels,
        ..facts("a", "10.0.0.1")
    });
    assert_eq!(enrolled(&cache.news()), [("a", true)]);
    cache.leave();
    assert_eq!(
        enrolled(&cache.news()),
        [("a", false)],
        "the mesh is being uninstalled"
    );
}

#[test]
fn what_is_not_known_of_its_namespace_waits() {
    let mut cache = synced();
    cache.put(Facts {
        namespace: "other".into(),
        ..facts("a", "10.0.0.1")
    });
    assert!(cache.news().is_empty());
    assert_eq!(cache.find("other", "pod-a", "a"), Found::Unknown);
    cache.put_namespace("other".into(), None);
    assert_eq!(
        cache.find("other", "pod-a", "a"),
        Found::Outside(Outside::NotAsked)
    );
    assert_eq!(enrolled(&cache.news()), [("a", false)]);
}

#[test]
fn a_deleted_pod_is_not_released_into_the_clear() {
    let mut cache = synced();
    cache.put(facts("a", "10.0.0.1"));
    cache.put(facts("b", "10.0.0.2"));
    let _told = cache.news();
    assert_eq!(cache.remove("a"), Some(PodEvent::Deleted("a".into())));
    assert_eq!(cache.remove("a"), None);
    assert_eq!(cache.retain(&[]), [PodEvent::Deleted("b".into())]);
}

#[test]
fn the_runtimes_word_on_a_new_sandbox_counts_before_old_addresses_and_old_processes() {
    let mut cache = synced();
    cache.put(facts("a", "10.0.0.1"));
    assert!(cache.lacks(), "it runs somewhere");
    let new: IpAddr = "10.0.0.9".parse().unwrap();
    cache.made("a", netns(), vec![new]);
    assert!(!cache.lacks());
    // A process of the old sandbox that is still there.
    let Some(old) = other_netns() else { return };
    cache.found("a", std::slice::from_ref(&old));
    let news = cache.news();
    let [PodEvent::Upsert(pod)] = &*news else {
        panic!("{news:?}")
    };
    assert_eq!(pod.addresses, [new]);
    assert_eq!(pod.netns, Place::Held(netns()));
    // What was found gives way to what is found later.
    cache.put(facts("b", "10.0.0.2"));
    cache.found("b", std::slice::from_ref(&old));
    let _told = cache.news();
    cache.found("b", &[netns(), old.clone()]);
    assert!(cache.news().is_empty(), "still one of its own");
    cache.found("b", &[netns()]);
    assert_eq!(cache.news().len(), 1);
}

fn other_netns() -> Option<Netns> {
    let made = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
        Netns::current().ok()
    });
    made.join().unwrap()
}

#[test]
fn two_pods_of_one_name_are_two() {
    let mut cache = synced();
    let named = |uid, deleting| Facts {
        name: "web-0".into(),
        deleting,
        ..facts(uid, "10.0.0.1")
    };
    cache.put(named("old", true));
    assert_eq!(
        cache.find("demo", "web-0", "new"),
        Found::Unknown,
        "only the old one is known"
    );
    assert_eq!(cache.find("demo", "web-0", "old"), Found::Deleting);
    cache.put(named("new", false));
    assert_eq!(
        cache.find("demo", "web-0", "new"),
        Found::Inside("new".into())
    );
    assert_eq!(cache.remove("old"), None, "never said");
    assert_eq!(cache.find("demo", "web-0", ""), Found::Inside("new".into()));
}

#[test]
fn a_static_pod_is_found_by_the_uid_that_the_runtime_knows() {
    let mut cache = synced();
    cache.put(Facts {
        runtime_uid: "hash".into(),
        ..facts("mirror", "10.0.0.1")
    });
    assert_eq!(
        cache.find("demo", "pod-mirror", "hash"),
        Found::Inside("mirror".into())
    );
}

#[test]
fn forbidden_exclusions_are_none() {
    let mut cache = synced();
    let options = CaptureOptions {
        exclude_inbound_ports: [80].into(),
        dns_capture: false,
        probe_ports: [81].into(),
        ..CaptureOptions::default()
    };
    cache.put(Facts {
        options,
        ..facts("a", "10.0.0.1")
    });
    let said = |news: Vec<PodEvent>| match news.into_iter().next() {
        Some(PodEvent::Upsert(pod)) => pod.options,
        other => panic!("{other:?}"),
    };
    assert!(!said(cache.news()).dns_capture);
    cache.forbid_exclusions(true);
    let options = said(cache.news());
    assert!(options.dns_capture && options.exclude_inbound_ports.is_empty());
    assert_eq!(options.probe_ports, [81].into(), "probes are no exclusion");
}

#[test]
fn a_pod_outside_keeps_no_namespace_open() {
    let mut cache = synced();
    cache.put(facts("a", "10.0.0.1"));
    cache.made("a", netns(), Vec::new());
    let _told = cache.news();
    cache.put_namespace("demo".into(), None);
    let _told = cache.news();
    assert!(cache.pods["a"].sandbox.is_none());
}
