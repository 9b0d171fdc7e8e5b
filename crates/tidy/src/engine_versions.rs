//! The lock file holds one version of each crate of the engine: two of arrow or tonic double the
//! build, and their types do not fit each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Tree, Violation};

const LOCK: &str = "Cargo.lock";

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut lines: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, version) in packages(tree.text(LOCK).unwrap_or_default()) {
        if is_engine(name) {
            lines.entry(name).or_default().insert(compatible_line(version));
        }
    }
    lines
        .into_iter()
        .filter(|(_, lines)| lines.len() > 1)
        .map(|(name, lines)| {
            let lines: Vec<String> = lines.into_iter().collect();
            let message = format!("{name} is there as {}; keep one", lines.join(" and "));
            Violation::new(LOCK, message)
        })
        .collect()
}

fn is_engine(name: &str) -> bool {
    let is_one_of = |family: &str| name == family || name.starts_with(&format!("{family}-"));
    ["arrow", "datafusion", "object_store", "parquet", "tonic"].into_iter().any(is_one_of)
}

/// The part of a version within which cargo takes one for another: `55`, `0.13`.
fn compatible_line(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("0", Some(minor)) => format!("0.{minor}"),
        (major, _) => major.to_owned(),
    }
}

fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").skip(1).filter_map(|package| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some((value("name")?, value("version")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str)]) -> Tree {
        let text: String = packages
            .iter()
            .map(|(name, version)| {
                format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n")
            })
            .collect();
        Tree::default().with(LOCK, &format!("version = 4\n\n{text}"))
    }

    #[test]
    fn two_majors_of_an_engine_crate_are_found() {
        let tree = lock(&[
            ("arrow-array", "58.1.0"),
            ("arrow-array", "59.0.0"),
            ("object_store", "0.12.4"),
            ("object_store", "0.13.0"),
            ("tonic", "0.14.1"),
        ]);
        let messages: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "Cargo.lock: arrow-array is there as 58 and 59; keep one",
                "Cargo.lock: object_store is there as 0.12 and 0.13; keep one",
            ]
        );
    }

    #[test]
    fn other_crates_may_be_there_twice() {
        let tree = lock(&[("hashbrown", "0.15.0"), ("hashbrown", "0.16.0"), ("arrow", "59.0.0")]);
        assert!(check(&tree).is_empty());
    }
}
