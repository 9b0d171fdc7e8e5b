//! Files are short: none over 600 lines, half of them at most 150.

use std::fmt;

use crate::{Tree, Violation};

const LINES_MAX: usize = 600;
const LINES_HALF_MAX: usize = 150;

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations: Vec<Violation> = tree
        .rust_files()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| {
            let message = format!("{lines} lines; split it at {LINES_MAX}, by concept");
            Violation::new(path, message)
        })
        .collect();
    let lengths = Lengths::of(tree);
    if lengths.short * 2 < lengths.files {
        violations.push(Violation::new(".", lengths.to_string()));
    }
    violations
}

/// How long the Rust files of a tree are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// How many there are.
    pub files: usize,
    /// How many of them have at most 150 lines.
    pub short: usize,
    /// The lines of the longest.
    pub lines_max: usize,
}

impl Lengths {
    /// Measures `tree`.
    pub fn of(tree: &Tree) -> Self {
        let lines: Vec<usize> = tree.rust_files().map(|(_, text)| text.lines().count()).collect();
        Self {
            files: lines.len(),
            short: lines.iter().filter(|lines| **lines <= LINES_HALF_MAX).count(),
            lines_max: lines.into_iter().max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} Rust files have at most {LINES_HALF_MAX} lines (half of them should), the \
             longest has {}",
            self.short, self.files, self.lines_max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_601_lines_is_too_long_and_one_of_600_is_not() {
        let tree = Tree::default()
            .with("src/a.rs", &"\n".repeat(600))
            .with("src/b/tests.rs", &"\n".repeat(601))
            .with("src/c.rs", "")
            .with("src/d.rs", "");
        let violations = check(&tree);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].path, "src/b/tests.rs");
        assert!(violations[0].message.contains("601 lines"));
    }

    #[test]
    fn more_long_files_than_short_ones_are_found() {
        let tree =
            Tree::default().with("src/a.rs", &"\n".repeat(150)).with("src/b.rs", &"\n".repeat(151));
        assert!(check(&tree).is_empty());
        let violations = check(&tree.with("src/c.rs", &"\n".repeat(200)));
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].message.starts_with("1 of 3 Rust files"), "{}", violations[0]);
    }
}
