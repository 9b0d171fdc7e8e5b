//! YAML text as a tree of values that know their lines.
//!
//! ```text
//! text --build--> tree, aliases copied --resolve--> merge keys, duplicates, ${NAME}
//! ```
//!
//! Owns what is YAML; which keys and values a job may have is for the readers above.

mod build;
mod env;
mod node;
mod resolve;

pub(crate) use node::{Entry, Node, Value, join};

use crate::report::Report;

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The one document of `text`, or `None` when it is none; problems go to the report.
pub(crate) fn load(text: &str, env: Env<'_>, report: &Report) -> Option<Node> {
    let node = build::build(text, report)?;
    Some(resolve::resolve(node, env, report))
}
