//! The conversation over a real socket, with a worker's part played by the test.

use std::os::unix::net::UnixStream as StdStream;

use super::*;
use crate::kubernetes::cache::Kind;
use crate::kubernetes::facts::Facts;
use crate::source::PodEvent;
use crate::status::Status;
use culvert_runtime::drain;
use tokio::sync::mpsc;

struct Bench {
    node: Node,
    statuses: Statuses,
    events: mpsc::UnboundedReceiver<PodEvent>,
    dir: tempfile::TempDir,
    _trigger: drain::Trigger,
}

fn bench(deadline: Duration) -> Bench {
    let (send, events) = mpsc::unbounded_channel();
    let (node, statuses) = (Node::new(send), Statuses::default());
    let dir = tempfile::tempdir().unwrap();
    let listener = Doorman::bind(&dir.path().join("cni.sock")).unwrap();
    let name = "n1".to_owned();
    let doorman = Doorman {
        deadline,
        ..Doorman::new(node.clone(), statuses.clone(), name)
    };
    let (trigger, drain) = drain::channel();
    task::spawn("test_doorman", doorman.serve(listener, drain));
    Bench {
        node,
        statuses,
        events,
        dir,
        _trigger: trigger,
    }
}

impl Bench {
    /// The plugin's side.
    fn ask(&self, name: &str) -> tokio::task::JoinHandle<io::Result<Answer>> {
        let question = Question {
            command: Command::Add,
            namespace: "demo".into(),
            name: name.into(),
            uid: name.into(),
            container: "c".into(),
            addresses: vec!["10.0.0.5".parse().unwrap()],
        };
        let path = self.dir.path().join("cni.sock");
        tokio::task::spawn_blocking(move || {
            let socket = StdStream::connect(path)?;
            let netns = Netns::current()?;
            culvert_cni_wire::ask(&socket, &question, Some(netns.as_fd()))?;
            let mut line = Vec::new();
            io::Read::read_to_end(&mut &socket, &mut line)?;
            culvert_cni_wire::decode(&line)
        })
    }

    fn tell(&self, mode: &str) {
        let mode = Some(mode.to_owned());
        self.node.change(|cache| {
            cache.put_namespace("demo".into(), mode);
            for kind in [Kind::Pods, Kind::Namespaces, Kind::Settings] {
                cache.synced(kind);
            }
            Vec::new()
        });
    }

    fn put(&self, name: &str, deleting: bool) {
        let mut pod = serde_json::json!({
            "metadata": {"name": name, "namespace": "demo", "uid": name},
            "spec": {"containers": []},
        });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let facts = Facts::of(&serde_json::from_value(pod).unwrap()).unwrap();
        self.node.change(|cache| {
            cache.put(facts);
            Vec::new()
        });
    }

    fn status(&self, name: &str, capture: Capture, message: &str, netns: u64) {
        let status = Status {
            namespace: "demo".into(),
            name: name.into(),
            netns,
            capture,
            message: message.into(),
            generation: 1,
            connections_before: 0,
            connections_closed: 0,
            repairs: 0,
        };
        self.statuses.set(name, &status);
    }
}

fn refusal(answer: Answer) -> String {
    match answer {
        Answer::Refuse(reason) => reason,
        Answer::Start => panic!("it may start"),
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_pod_of_the_mesh_waits_until_its_new_namespace_is_captured() {
    let mut bench = bench(LONG);
    bench.tell("ambient");
    let mut asked = bench.ask("web");
    tokio::time::sleep(SHORT).await;
    bench.put("web", false);
    let told = loop {
        match bench.events.recv().await.unwrap() {
            PodEvent::Upsert(pod) if !pod.netns.is_unknown() => break pod,
            _ => {}
        }
    };
    assert_eq!(
        told.addresses,
        ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()]
    );
    let inode = Netns::current().unwrap().id().inode;
    bench.status("web", Capture::Captured, "", inode + 1);
    bench.status("web", Capture::Pending, "waiting for a ztunnel", inode);
    let early = tokio::time::timeout(SHORT, &mut asked).await;
    assert!(early.is_err(), "captured elsewhere, and pending here");
    bench.status("web", Capture::Captured, "", inode);
    assert_eq!(asked.await.unwrap().unwrap(), Answer::Start);
}

#[tokio::test]
async fn others_start_at_once() {
    let bench = bench(LONG);
    bench.tell("none");
    bench.put("web", false);
    assert_eq!(bench.ask("web").await.unwrap().unwrap(), Answer::Start);
}

#[tokio::test]
async fn one_whose_label_goes_while_it_waits_starts() {
    let bench = bench(LONG);
    bench.tell("ambient");
    bench.put("web", false);
    let asked = bench.ask("web");
    tokio::time::sleep(SHORT).await;
    bench.tell("none");
    assert_eq!(asked.await.unwrap().unwrap(), Answer::Start);
}

#[tokio::test]
async fn one_that_is_deleted_while_it_waits_is_let_go_of() {
    let bench = bench(LONG);
    bench.tell("ambient");
    bench.put("web", false);
    let asked = bench.ask("web");
    tokio::time::sleep(SHORT).await;
    bench.put("web", true);
    assert!(refusal(asked.await.unwrap().unwrap()).contains("being deleted"));
}

#[tokio::test]
async fn who_is_refused_hears_why() {
    let bench = bench(SHORT);
    let reason = refusal(bench.ask("web").await.unwrap().unwrap());
    assert!(
        reason.contains("not reached the Kubernetes API"),
        "{reason}"
    );
    bench.tell("ambient");
    let reason = refusal(bench.ask("web").await.unwrap().unwrap());
    assert!(
        reason.contains("has not told the agent of node n1"),
        "{reason}"
    );
    bench.put("web", false);
    bench.status("web", Capture::Pending, "waiting for a ztunnel", 0);
    let reason = refusal(bench.ask("web").await.unwrap().unwrap());
    let says = "pod demo/web is in the mesh, but its traffic could not be captured";
    assert!(
        reason.contains(says) && reason.contains("waiting for a ztunnel"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_runtime_that_gives_up_frees_the_agent() {
    let bench = bench(LONG);
    bench.tell("ambient");
    bench.put("web", false);
    let path = bench.dir.path().join("cni.sock");
    let socket = StdStream::connect(path).unwrap();
    io::Write::write_all(&mut &socket, b"{\"command\":\"a").unwrap();
    drop(socket);
    // The listener goes on.
    bench.tell("none");
    assert_eq!(bench.ask("web").await.unwrap().unwrap(), Answer::Start);
}

#[test]
fn the_socket_is_roots() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cni.sock");
        for _ in 0..2 {
            let _listener = Doorman::bind(&path).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    });
}
