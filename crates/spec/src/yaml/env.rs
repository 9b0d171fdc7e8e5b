//! `${NAME}` and `${NAME:-default}` in a value.
//!
//! As in a shell, `:-` also stands in for a variable that is set but empty. `$$` is a `$`,
//! and a `$` before anything else is itself.

use super::Env;
use crate::report::quoted;

/// The text with its variables replaced.
///
/// # Errors
///
/// One message for each reference that is not understood or has no value.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, Vec<String>> {
    let mut expanded = String::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some((reference, after)) = after.split_once('}') else {
                let shown = quoted(&format!("${rest}"));
                problems
                    .push(format!("{shown} has no closing brace; write ${{NAME}}, or $$ for a $"));
                return Err(problems);
            };
            match value(reference, env) {
                Ok(value) => expanded.push_str(&value),
                Err(problem) => problems.push(problem),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    if problems.is_empty() { Ok(expanded) } else { Err(problems) }
}

fn value(reference: &str, env: Env<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let named = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    if !named || default.is_some_and(|default| default.contains("${")) {
        let shown = quoted(&format!("${{{reference}}}"));
        let right = "write ${NAME} or ${NAME:-default}, one not inside the other, or $$ for a $";
        return Err(format!("{shown} is not a variable; {right}"));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn env(name: &str) -> Option<String> {
        match name {
            "OUT" => Some("/srv/out".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_by_their_values_or_defaults() {
        for (text, expanded) in [
            ("${OUT}/x/", "/srv/out/x/"),
            ("${OUT:-./out}${OUT}", "/srv/out/srv/out"),
            ("${NONE:-./out}/x/", "./out/x/"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("$${OUT} $$$$ $5 a$", "${OUT} $$ $5 a$"),
        ] {
            assert_eq!(expand(text, &env), Ok(expanded.to_owned()), "{text}");
        }
    }

    #[test]
    fn each_reference_without_a_value_is_named() {
        let problems = expand("${A}/${OUT}/${B}", &env).unwrap_err();
        assert_eq!(
            problems,
            [
                "the environment variable A is not set; set it, or write ${A:-default}",
                "the environment variable B is not set; set it, or write ${B:-default}",
            ]
        );
    }

    #[test]
    fn references_that_are_none_are_told_apart() {
        for text in ["${}", "${1}", "${A-b}", "${A:-${B}}", "${a b}"] {
            let problems = expand(text, &env).unwrap_err();
            assert!(problems[0].contains("is not a variable; write ${NAME}"), "{problems:?}");
        }
        let problems = expand("x${OUT", &env).unwrap_err();
        assert!(problems[0].starts_with(r#""${OUT" has no closing brace"#), "{problems:?}");
    }
}
