//! Every Rust file opens with `//!`: what it owns, and what it does not.

use crate::{Tree, Violation};

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    tree.rust_files()
        .filter(|(_, text)| !has_doc(text))
        .map(|(path, _)| Violation::new(path, "open the file with //! and what it owns"))
        .collect()
}

fn has_doc(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    first.strip_prefix("//!").is_some_and(|doc| !doc.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_doc_is_found() {
        let tree = Tree::default()
            .with("src/good.rs", "//! Owns goodness.\nfn f() {}\n")
            .with("src/code_first.rs", "use std::fmt;\n//! Too late.\n")
            .with("src/comment.rs", "// A comment is no doc.\n")
            .with("src/blank_doc.rs", "//!\nfn f() {}\n")
            .with("src/empty.rs", "");
        let violations = check(&tree);
        let paths: Vec<&str> = violations.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(
            paths,
            ["src/blank_doc.rs", "src/code_first.rs", "src/comment.rs", "src/empty.rs"]
        );
    }
}
