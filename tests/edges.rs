//! The rules between the crates, read from `cargo metadata`: the five primitive
//! crates know nothing of each other, and the kernel crates carry no async
//! runtime and no image formats with them.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const PRIMITIVES: [&str; 5] = [
    "rocker-image",
    "rocker-fs",
    "rocker-net",
    "rocker-cgroup",
    "rocker-ns",
];

fn metadata(args: &[&str]) -> Value {
    // What only other platforms need was never downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &platform])
        .args(args)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

#[test]
fn no_primitive_crate_depends_on_another_in_any_dependency_table() {
    let metadata = metadata(&["--no-deps"]);
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        if !PRIMITIVES.contains(&name) {
            continue;
        }
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            assert!(
                !on.starts_with("rocker"),
                "{name} depends on {on} ({})",
                dependency["kind"]
            );
            assert!(
                dependency["path"].is_null(),
                "{name} has a path dependency on {on}"
            );
        }
    }
    assert_eq!(
        seen,
        PRIMITIVES.len(),
        "every primitive crate was looked at"
    );
}

#[test]
fn the_kernel_crates_carry_neither_an_http_stack_nor_image_formats() {
    let metadata = metadata(&[]);
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("an id"), node))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            (
                package["id"].as_str().expect("an id"),
                package["name"].as_str().expect("a name"),
            )
        })
        .collect();
    for (krate, banned) in [
        ("rocker-fs", &["tokio", "reqwest", "oci-spec"][..]),
        ("rocker-cgroup", &["tokio", "reqwest"]),
        ("rocker-ns", &["tokio", "reqwest", "oci-spec"]),
        ("rocker-net", &["reqwest", "oci-spec"]),
    ] {
        let root = names
            .iter()
            .find(|(_, name)| **name == krate)
            .expect("the crate is in the workspace")
            .0;
        let mut todo = vec![*root];
        let mut done = std::collections::BTreeSet::new();
        while let Some(id) = todo.pop() {
            if !done.insert(id) {
                continue;
            }
            assert!(
                !banned.contains(&names[id]),
                "{krate} reaches {}",
                names[id]
            );
            for dependency in nodes[id]["deps"].as_array().expect("deps") {
                let normal = dependency["dep_kinds"]
                    .as_array()
                    .expect("kinds")
                    .iter()
                    .any(|kind| kind["kind"].is_null());
                if normal {
                    todo.push(dependency["pkg"].as_str().expect("an id"));
                }
            }
        }
    }
}
