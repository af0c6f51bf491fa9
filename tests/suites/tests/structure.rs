//! The structure that `docs/architecture.md` promises, held against the tree: who may depend on whom, how long a file
//! may be, that every file says what it is for, and where `unsafe` may stand.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARIES: [&str; 8] = [
    "culvert",
    "culvert-agent",
    "culvert-cni",
    "culvert-controller",
    "culvert-echo",
    "culvert-perf",
    "culvert-waypoint",
    "culvert-ztunnel",
];
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Normal dependencies of each workspace member, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 10);
    packages
        .iter()
        .map(|package| {
            let normal = package["dependencies"].as_array().unwrap().iter();
            let normal = normal.filter(|dependency| dependency["kind"].is_null());
            let names = normal
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

/// Every Rust file of the project that a person wrote.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir()
                && !name.starts_with('.')
                && !["target", "generated"].contains(&name.as_str())
            {
                open.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20);
    found
}

#[test]
fn binaries_never_import_each_other() {
    for (package, dependencies) in dependencies() {
        for binary in BINARIES {
            assert!(
                !dependencies.contains(binary),
                "{package} imports the program {binary}"
            );
        }
    }
}

#[test]
fn policy_and_proto_import_nothing_of_ours_and_policy_nothing_async() {
    let dependencies = dependencies();
    for package in ["culvert-policy", "culvert-proto"] {
        let ours: Vec<_> = dependencies[package]
            .iter()
            .filter(|name| name.starts_with("culvert"))
            .collect();
        assert!(ours.is_empty(), "{package} imports {ours:?}");
    }
    for runtime in ["tokio", "futures-util", "h2", "hyper"] {
        assert!(
            !dependencies["culvert-policy"].contains(runtime),
            "culvert-policy imports {runtime}"
        );
    }
}

#[test]
fn boringssl_is_the_only_tls_stack() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for stack in [
        "rustls",
        "aws-lc-rs",
        "openssl",
        "openssl-sys",
        "native-tls",
        "mbedtls",
    ] {
        assert!(
            !lock.contains(&format!("name = \"{stack}\"\n")),
            "{stack} is in Cargo.lock"
        );
    }
    assert!(lock.contains("name = \"boring\"\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let fuzz_target = path
            .components()
            .any(|part| part.as_os_str() == "fuzz_targets");
        if !fuzz_target && !text.starts_with("//!") {
            wrong.push(format!("{} does not open with //!", path.display()));
        }
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_excused_only_in_files_named_sys() {
    let mut excused = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let excuses = text.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with("#") && line.contains("(unsafe_code")
        });
        if excuses && path.file_name().unwrap() != "sys.rs" {
            excused.push(path.display().to_string());
        }
    }
    assert!(
        excused.is_empty(),
        "unsafe outside sys.rs: {}",
        excused.join(", ")
    );
}
