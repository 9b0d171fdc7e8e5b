//! The style of the repository, kept by a test: what a compiler and clippy cannot see.
//!
//! Owns rules about files and their places: how long a file may be, that it opens with a doc,
//! that a job has its SQL and its cases, that a SQL function has its file and its mathematics,
//! and that the lock file holds one of each engine crate. It does not own what clippy checks:
//! the length of functions (`too_many_lines`), arguments, panics and prints.
//!
//! Each rule is a function from a [`Tree`] to its [`Violation`]s, so that its own test can show
//! it a made-up tree that breaks it.

mod engine_versions;
mod file_doc;
mod file_length;
mod function_files;
mod job_files;
mod tree;
mod violation;

#[cfg(test)]
mod tests;

pub use file_length::Lengths;
pub use tree::{Tree, TreeError};
pub use violation::Violation;

/// Everything that `tree` breaks, by path.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let rules = [
        engine_versions::check,
        file_doc::check,
        file_length::check,
        function_files::check,
        job_files::check,
    ];
    let mut violations: Vec<Violation> = rules.iter().flat_map(|rule| rule(tree)).collect();
    violations.sort();
    violations
}
