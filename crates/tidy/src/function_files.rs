//! A SQL function has a file named as it, is registered, and has its mathematics apart:
//! `udfs/src/mad.rs` is `mad`, is in `udfs/src/lib.rs`, and is computed by
//! `udfs/src/math/mad.rs`.
//!
//! What functions share lies in folders (`udfs/src/arguments/mod.rs`), which are no functions.

use crate::{Tree, Violation};

const REGISTRY: &str = "udfs/src/lib.rs";

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let registry = tree.text(REGISTRY).unwrap_or_default();
    let functions = tree.stems("udfs/src", "rs").into_iter().filter(|stem| *stem != "lib");
    functions.flat_map(|name| check_function(tree, name, registry)).collect()
}

fn check_function(tree: &Tree, name: &str, registry: &str) -> Vec<Violation> {
    let path = format!("udfs/src/{name}.rs");
    let text = tree.text(&path).unwrap_or_default();
    let mut violations = Vec::new();
    if !names_itself(text, name) {
        violations.push(Violation::new(&path, format!("fn name(&self) does not give \"{name}\"")));
    }
    if !registry.contains(&format!("new_from_impl({name}::")) {
        violations.push(Violation::new(REGISTRY, format!("{name} is not registered")));
    }
    let mathematics = format!("udfs/src/math/{name}.rs");
    if tree.text(&mathematics).is_none() {
        let message = format!("is missing: the mathematics of {name}, without Arrow");
        violations.push(Violation::new(&mathematics, message));
    }
    violations
}

fn names_itself(text: &str, name: &str) -> bool {
    let body = text.split_once("fn name(&self)").map(|(_, after)| after).unwrap_or_default();
    let end = body.find('}').unwrap_or(body.len());
    body[..end].contains(&format!("\"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAD: &str = "impl X {\n    fn name(&self) -> &str {\n        \"mad\"\n    }\n}\n";

    fn whole() -> Tree {
        Tree::default()
            .with(REGISTRY, "AggregateUDF::new_from_impl(mad::Mad::default()),")
            .with("udfs/src/mad.rs", MAD)
            .with("udfs/src/math/mad.rs", "")
            .with("udfs/src/math/mod.rs", "")
            .with("udfs/src/arguments/mod.rs", "")
    }

    fn messages(tree: &Tree) -> Vec<String> {
        check(tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_function_breaks_nothing() {
        assert_eq!(messages(&whole()), [""; 0]);
    }

    #[test]
    fn a_function_alone_is_found() {
        let tree = whole().with("udfs/src/iqr.rs", &MAD.replace("mad", "iqr"));
        assert_eq!(
            messages(&tree),
            [
                "udfs/src/lib.rs: iqr is not registered",
                "udfs/src/math/iqr.rs: is missing: the mathematics of iqr, without Arrow",
            ]
        );
    }

    #[test]
    fn a_function_of_another_name_is_found() {
        let text = format!("{}// \"mad\"\n", MAD.replace("\"mad\"", "\"mad_score\""));
        assert_eq!(
            messages(&whole().with("udfs/src/mad.rs", &text)),
            ["udfs/src/mad.rs: fn name(&self) does not give \"mad\""]
        );
    }
}
