//! Files in, objects and rejections out.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::source::{Change, Effect, Rejection};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: demo\n";

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  ports:\n  - port: {port}\n"
    )
}

struct World {
    _temporary: tempfile::TempDir,
    root: PathBuf,
    dir: Option<Dir>,
}

impl World {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("config");
        fs::create_dir(&root).unwrap();
        Self {
            _temporary: temporary,
            root,
            dir: None,
        }
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// As a controller that starts.
    fn open(&mut self) -> Batch {
        let (dir, batch) = Dir::read(&self.root, &self.root.join(".state")).unwrap();
        dir.remember();
        self.dir = Some(dir);
        batch
    }

    fn refresh(&mut self) -> Batch {
        self.dir.as_mut().unwrap().refresh()
    }

    fn in_force(&self) -> BTreeSet<String> {
        let keys = self.dir.as_ref().unwrap().merged.in_force.keys();
        keys.map(ToString::to_string).collect()
    }
}

fn names(batch: &Batch) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Put(object, _) => format!("+{}", object.key()),
        Change::Remove(key) => format!("-{key}"),
    };
    batch.changes.iter().map(name).collect()
}

fn place(rejection: &Rejection) -> String {
    let file = rejection
        .file
        .as_ref()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    format!(
        "{file}:{} {} {}",
        rejection.line, rejection.object, rejection.field
    )
}

#[test]
fn reads_all_files_and_documents_but_hidden_ones() {
    let mut world = World::new();
    world.put(
        "a.yaml",
        &format!("{NAMESPACE}---\n{}", service("web", "80")),
    );
    world.put("sub/dir/b.yml", &service("api", "80"));
    world.put(".hidden/c.yaml", "nonsense: [");
    world.put(".d.yaml", "nonsense: [");
    world.put("notes.txt", "nonsense: [");
    let batch = world.open();
    assert_eq!(
        names(&batch),
        ["+Namespace demo", "+Service demo/api", "+Service demo/web"]
    );
    assert_eq!(batch.rejections, []);
    assert_eq!(world.refresh().changes.len(), 0);
}

#[test]
fn an_error_names_file_line_object_and_field() {
    let mut world = World::new();
    world.put(
        "a.yaml",
        &format!("{NAMESPACE}---\n{}", service("web", "99999")),
    );
    world.put(
        "b.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  lable: {}\nspec:\n  nodeName: [x]\n",
    );
    world.put("c.yaml", "a: 1\nb: [\n");
    let batch = world.open();
    let places: Vec<_> = batch.rejections.iter().map(place).collect();
    assert_eq!(
        places,
        [
            "c.yaml:3  ",
            "a.yaml:13 Service demo/web spec.ports[0].port",
            "b.yaml:5 Pod default/p metadata.lable",
            "b.yaml:7 Pod default/p spec.nodeName",
        ]
    );
    assert_eq!(batch.rejections[1].message, "99999 is no port: 1 to 65535");
    assert!(batch.rejections.iter().all(|r| r.effect == Effect::None));
}

#[test]
fn the_last_good_version_stays_while_its_object_is_wrong() {
    let mut world = World::new();
    world.put(
        "a.yaml",
        &format!("{}---\n{}", service("web", "80"), service("api", "80")),
    );
    world.open();
    world.put(
        "a.yaml",
        &format!("{}---\n{}", service("web", "none"), service("api", "81")),
    );
    let batch = world.refresh();
    assert_eq!(names(&batch), ["+Service demo/api"]);
    assert_eq!(batch.rejections[0].effect, Effect::LastGood);
    // A good object that goes while another one is wrong does go.
    world.put("a.yaml", &service("web", "none"));
    assert_eq!(names(&world.refresh()), ["-Service demo/api"]);
    assert_eq!(
        world.in_force(),
        BTreeSet::from(["Service demo/web".into()])
    );
    fs::remove_file(world.root.join("a.yaml")).unwrap();
    let batch = world.refresh();
    assert_eq!(names(&batch), ["-Service demo/web"]);
    assert_eq!(batch.rejections, []);
}

#[test]
fn a_file_that_is_not_understood_loses_nothing() {
    let mut world = World::new();
    world.put(
        "a.yaml",
        &format!("{}---\n{}", service("web", "80"), service("api", "80")),
    );
    world.open();
    let before = world.in_force();
    for broken in [
        "a: [",
        &format!("{}---\nkind: Servce\n", service("web", "80")),
        "- a\n",
        "\u{0}",
        "",
    ] {
        world.put("a.yaml", broken);
        let batch = world.refresh();
        assert_eq!(batch.rejections.len(), 1, "{broken}");
        assert_eq!(batch.changes.len(), 0, "{broken}");
        assert_eq!(world.in_force(), before, "{broken}");
    }
    world.put("a.yaml", "# nothing any more\n");
    assert_eq!(
        names(&world.refresh()),
        ["-Service demo/api", "-Service demo/web"]
    );
}

#[test]
fn an_object_that_stands_twice_names_both_places_and_the_first_stays() {
    let mut world = World::new();
    world.put("b.yaml", &service("web", "80"));
    world.open();
    world.put("a.yaml", &service("web", "81"));
    let batch = world.refresh();
    assert_eq!(names(&batch), Vec::<String>::new());
    let message = &batch.rejections[0].message;
    assert_eq!(
        place(&batch.rejections[0]),
        "a.yaml:4 Service demo/web metadata.name"
    );
    assert!(
        message.contains("b.yaml:1 is in force") && message.contains("a.yaml:1 is not"),
        "{message}"
    );
    fs::remove_file(world.root.join("b.yaml")).unwrap();
    assert_eq!(names(&world.refresh()), ["+Service demo/web"]);
}

#[test]
fn a_moved_object_never_leaves() {
    let mut world = World::new();
    world.put("a.yaml", &service("web", "80"));
    world.open();
    fs::rename(world.root.join("a.yaml"), world.root.join("z.yaml")).unwrap();
    assert_eq!(names(&world.refresh()), ["+Service demo/web"]);
}

#[test]
fn the_last_good_objects_survive_a_restart() {
    let mut world = World::new();
    world.put("a.yaml", &service("web", "80"));
    world.put("b.yaml", &service("api", "80"));
    world.put("c.yaml", &service("gone", "80"));
    world.open();
    world.put("a.yaml", "a: [");
    world.put("b.yaml", &service("api", "none"));
    fs::remove_file(world.root.join("c.yaml")).unwrap();
    let batch = world.open();
    assert_eq!(names(&batch), ["+Service demo/api", "+Service demo/web"]);
    assert!(
        batch
            .rejections
            .iter()
            .all(|r| r.effect == Effect::LastGood),
        "{:?}",
        batch.rejections
    );
    fs::write(world.root.join(".state/last-good.json"), "[").unwrap();
    let error = Dir::read(&world.root, &world.root.join(".state")).unwrap_err();
    assert!(matches!(error, DirError::LastGood { .. }));
}

#[test]
fn at_a_restart_a_directory_that_cannot_be_listed_loses_nothing_either() {
    let mut world = World::new();
    world.put("sub/a.yaml", &service("web", "80"));
    world.open();
    let mut files = scan::Files::default();
    files
        .unlisted
        .push((world.root.join("sub"), "permission denied".into()));
    let dir = world.dir.as_mut().unwrap();
    let remembered = good::load(&dir.last_good).unwrap();
    let mut merged = Merged::new(remembered);
    let batch = merged.update(&files);
    assert_eq!(names(&batch), Vec::<String>::new());
    assert_eq!(batch.rejections[0].message, "permission denied");
}

#[test]
fn a_directory_that_cannot_be_listed_loses_nothing() {
    let mut world = World::new();
    world.put("a.yaml", &service("web", "80"));
    world.open();
    let away = world.root.with_extension("away");
    fs::rename(&world.root, &away).unwrap();
    let batch = world.refresh();
    assert_eq!(names(&batch), Vec::<String>::new());
    assert_eq!(batch.rejections.len(), 1);
    fs::rename(&away, &world.root).unwrap();
    assert_eq!(world.refresh().rejections, []);
}

#[tokio::test]
async fn a_change_is_told_without_waiting_for_the_rescan() {
    let world = World::new();
    world.put("a.yaml", &service("web", "80"));
    let (watched, _) = Watched::open(&world.root, &world.root.join(".state")).unwrap();
    // Before the source runs, yet not lost.
    world.put(".new", &format!("{}---\n{NAMESPACE}", service("web", "80")));
    fs::rename(world.root.join(".new"), world.root.join("a.yaml")).unwrap();
    let (sender, mut batches) = mpsc::channel(1);
    let (trigger, drain) = culvert_runtime::drain::channel();
    let running = tokio::spawn(watched.run(sender, drain));
    let batch = tokio::time::timeout(RESCAN / 2, batches.recv()).await;
    assert_eq!(names(&batch.unwrap().unwrap()), ["+Namespace demo"]);
    // A directory that appears, with a file in it.
    world.put("sub/b.yaml", &service("api", "80"));
    let batch = tokio::time::timeout(RESCAN / 2, batches.recv()).await;
    assert_eq!(names(&batch.unwrap().unwrap()), ["+Service demo/api"]);
    trigger.start();
    running.await.unwrap();
}

#[test]
fn a_key_is_written_nowhere_else() {
    let mut world = World::new();
    let (chain, key) = &crate::testing::pairs()[0];
    world.put("a.yaml", NAMESPACE);
    world.put(
        "b.yaml",
        &crate::testing::secret("demo", "cert", (chain, key)).to_string(),
    );
    world.open();
    assert!(world.in_force().contains("Secret demo/cert"));
    let kept = fs::read_to_string(world.root.join(".state/last-good.json")).unwrap();
    assert!(kept.contains("Namespace") && !kept.contains("Secret") && !kept.contains("BEGIN"));
    let shown = format!("{:?}", world.dir.as_ref().unwrap());
    assert!(!shown.contains(key.lines().nth(1).unwrap()));
}
