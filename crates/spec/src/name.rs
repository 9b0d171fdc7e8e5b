//! Names of jobs, sources and sinks: SQL identifiers that need no quotes.

use crate::report::quoted;

/// The longest name: it becomes part of file names.
const NAME_BYTES_MAX: usize = 63;

/// Checks a name; SQL folds unquoted identifiers to lower case, so a name must be in it.
///
/// # Errors
///
/// Says what is wrong with the name, and a name that would be right.
pub(crate) fn check_name(name: &str) -> Result<String, String> {
    let shown = quoted(name);
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let identifier =
        name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{shown} is too long; write at most {NAME_BYTES_MAX} letters"));
    }
    if !identifier {
        let right = match proposal(name) {
            Some(right) => format!("write {right}"),
            None => "write letters, digits and _, with a letter first".to_owned(),
        };
        return Err(format!("{shown} is not a name that SQL takes without quotes; {right}"));
    }
    let lower = name.to_ascii_lowercase();
    if lower != name {
        return Err(format!("{shown} has upper case, which SQL folds to lower; write {lower}"));
    }
    Ok(name.to_owned())
}

/// As [`check_name`], for a job: files whose names begin with `_` are hidden from readers, and
/// a sink's files begin with the job's name.
///
/// # Errors
///
/// Says what is wrong with the name, and a name that would be right.
pub(crate) fn check_job_name(name: &str) -> Result<String, String> {
    let name = check_name(name)?;
    if !name.starts_with('_') {
        return Ok(name);
    }
    let right = match name.trim_start_matches('_') {
        "" => "a name that begins with a letter",
        trimmed if trimmed.starts_with(|c: char| c.is_ascii_digit()) => {
            "a name that begins with a letter"
        }
        trimmed => trimmed,
    };
    let shown = quoted(&name);
    Err(format!("{shown} begins with _, and so would its files, which hides them; write {right}"))
}

/// The name with what is not allowed in it replaced by `_`, if anything of it is left.
fn proposal(name: &str) -> Option<String> {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }
    };
    let replaced: String = name.trim().chars().map(allowed).collect();
    let replaced = replaced.trim_matches('_');
    let first = replaced.chars().next()?;
    Some(if first.is_ascii_digit() { format!("_{replaced}") } else { replaced.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{check_job_name, check_name};

    #[test]
    fn names_are_lower_case_identifiers() {
        for name in ["flows", "_x", "dns_2", "a"] {
            assert_eq!(check_name(name), Ok(name.to_owned()));
        }
        assert!(check_name(&"a".repeat(63)).is_ok());
    }

    #[test]
    fn other_names_are_told_what_to_write() {
        for (name, message) in [
            ("Flows", r#""Flows" has upper case, which SQL folds to lower; write flows"#),
            ("dns-log", r#""dns-log" is not a name that SQL takes without quotes; write dns_log"#),
            ("2nd", r#""2nd" is not a name that SQL takes without quotes; write _2nd"#),
            (
                "",
                r#""" is not a name that SQL takes without quotes; write letters, digits and _, with a letter first"#,
            ),
        ] {
            assert_eq!(check_name(name), Err(message.to_owned()));
        }
        assert!(check_name(&"a".repeat(64)).is_err_and(|m| m.contains("at most 63 letters")));
    }

    #[test]
    fn files_of_a_job_are_never_hidden_by_its_name() {
        let message = check_job_name("_beacons").unwrap_err();
        assert!(message.ends_with("which hides them; write beacons"), "{message}");
        assert!(check_job_name("__").is_err_and(|m| m.ends_with("begins with a letter")));
        assert!(check_job_name("_1").is_err_and(|m| m.ends_with("begins with a letter")));
        assert_eq!(check_job_name("beacons"), Ok("beacons".to_owned()));
    }
}
