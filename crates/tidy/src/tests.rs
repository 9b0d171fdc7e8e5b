//! The rules over this repository.

use std::path::Path;

use crate::{Lengths, Tree, check};

fn repository() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Tree::load(&root).unwrap()
}

#[test]
fn the_repository_keeps_its_style() {
    let tree = repository();
    println!("{}", Lengths::of(&tree));
    let violations: Vec<String> = check(&tree).iter().map(|found| format!("  {found}")).collect();
    assert!(violations.is_empty(), "style:\n{}", violations.join("\n"));
}

#[test]
fn the_repository_is_what_was_read() {
    let tree = repository();
    for path in ["Cargo.lock", "src/main.rs", "udfs/src/lib.rs", "jobs/zeek_dns.yaml"] {
        assert!(tree.text(path).is_some(), "{path} was not read: the rules saw nothing of it");
    }
}
