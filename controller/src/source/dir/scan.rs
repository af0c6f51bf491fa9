//! The files of the directory as they were read last.
//!
//! Invariant: what cannot be read is never taken for empty: a file or directory that is there and gives an error keeps
//! standing as [`Content::Broken`], or as it was.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::yaml;
use crate::admit::{Refusal, admit};
use crate::model::{Kind, Object};
use crate::path::{FieldPath, Issue};
use crate::source::{Origin, Positions};

const EMPTY: &str = "is empty; to remove its objects, remove the file";
/// Larger files are refused.
const MAX_BYTES: u64 = 64 << 20;
/// A file that was changed so shortly before it was read may change again without its times saying so.
const SETTLED: Duration = Duration::from_secs(2);

/// All files, by path.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) by_path: BTreeMap<Arc<Path>, File>,
    /// Directories that could not be listed.
    pub(super) unlisted: Vec<(PathBuf, String)>,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    stamp: Stamp,
    pub(super) content: Content,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// It is no YAML, or cannot be read.
    Broken { line: u32, message: String },
    /// Its documents.
    Read(Vec<Document>),
}

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) origin: Origin,
    pub(super) outcome: Result<Arc<Good>, Refused>,
}

/// A document that is an object.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) object: Object,
    /// As it was written.
    pub(super) value: Value,
}

/// A document that is none.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Refusal);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let age = metadata
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        Self {
            bytes: metadata.size(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled: age.is_some_and(|age| age > SETTLED),
        }
    }
}

impl Files {
    /// Look at the directory again; only what changed is read.
    pub(super) fn scan(&mut self, root: &Path) {
        let mut before = std::mem::take(&mut self.by_path);
        self.unlisted.clear();
        let mut found = Vec::new();
        self.list(root, &mut found);
        for (path, metadata) in found {
            let path: Arc<Path> = path.into();
            let stamp = metadata.as_ref().ok().map(Stamp::of);
            let same = |file: &File| stamp.as_ref() == Some(&file.stamp) && file.stamp.settled;
            let file = match before.remove(&path).filter(same) {
                Some(file) => file,
                None => File::read(&path, metadata),
            };
            self.by_path.insert(path, file);
        }
        // What lies below a directory that cannot be listed stays as it was.
        for (path, file) in before {
            if self.unlisted.iter().any(|(dir, _)| path.starts_with(dir)) {
                self.by_path.insert(path, file);
            }
        }
    }

    fn list(&mut self, dir: &Path, found: &mut Vec<(PathBuf, io::Result<Metadata>)>) {
        let mut subdirectories = Vec::new();
        let listed = fs::read_dir(dir).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                let (path, name) = (entry.path(), entry.file_name());
                let hidden = name.as_encoded_bytes().first() == Some(&b'.');
                if hidden {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    subdirectories.push(path);
                } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                    match fs::metadata(&path) {
                        // It went away in between, or is a link to nowhere.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Ok(metadata) if metadata.is_dir() => {}
                        metadata => found.push((path, metadata)),
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = listed {
            self.unlisted.push((dir.into(), error.to_string()));
        }
        for dir in subdirectories {
            self.list(&dir, found);
        }
    }
}

impl File {
    fn read(path: &Arc<Path>, metadata: io::Result<Metadata>) -> Self {
        let broken = |message: String| Content::Broken { line: 0, message };
        let (stamp, content) = match metadata {
            Err(error) => (None, broken(error.to_string())),
            Ok(metadata) if metadata.size() > MAX_BYTES => (
                Some(Stamp::of(&metadata)),
                broken("is larger than 64 MiB".into()),
            ),
            Ok(metadata) => (
                Some(Stamp::of(&metadata)),
                match fs::read(path) {
                    Err(error) => broken(error.to_string()),
                    Ok(bytes) => match String::from_utf8(bytes) {
                        Err(_) => broken("is not UTF-8".into()),
                        // Someone may be about to write it.
                        Ok(text) if text.is_empty() => broken(EMPTY.into()),
                        Ok(text) => Content::parse(path, &text),
                    },
                },
            ),
        };
        let never = Stamp {
            bytes: 0,
            inode: 0,
            modified: (0, 0),
            changed: (0, 0),
            settled: false,
        };
        Self {
            stamp: stamp.unwrap_or(never),
            content,
        }
    }
}

impl Content {
    pub(super) fn parse(path: &Arc<Path>, text: &str) -> Self {
        match yaml::parse(text) {
            Err(malformed) => Self::Broken {
                line: malformed.line,
                message: malformed.message,
            },
            Ok(documents) => Self::Read(
                documents
                    .into_iter()
                    .map(|d| document(path, d.value, d.positions))
                    .collect(),
            ),
        }
    }
}

fn document(path: &Arc<Path>, value: Value, positions: Positions) -> Document {
    let mut origin = Origin {
        file: Some(path.clone()),
        line: positions.line_of(&FieldPath::root()),
        positions: Some(Arc::new(positions)),
    };
    let outcome = if value.is_object() {
        admit(&value)
    } else {
        let issue = Issue {
            field: FieldPath::root(),
            message: "is no object".into(),
        };
        Err(Refusal {
            key: None,
            label: String::new(),
            issues: vec![issue],
        })
    };
    if let Ok(object) = &outcome
        && matches!(object.kind(), Kind::Pod | Kind::EndpointSlice | Kind::Node)
    {
        // There are many, and nothing is found wrong with their fields later.
        origin.positions = None;
    }
    Document {
        origin,
        outcome: match outcome {
            // What a Secret holds is kept nowhere else.
            Ok(object @ Object::Secret(_)) => Ok(Arc::new(Good {
                object,
                value: Value::Null,
            })),
            Ok(object) => Ok(Arc::new(Good { object, value })),
            Err(refusal) => Err(Refused(refusal)),
        },
    }
}
