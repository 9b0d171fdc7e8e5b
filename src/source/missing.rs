//! What is said of a file that lacks a column without which it is of no use.

/// How many names a message shows.
const SHOWN: usize = 10;

/// That the event time `wanted` is not among the columns `names`, with the one that may be meant.
pub(super) fn missing_time<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let like = names.clone().find(|name| is_like(name, wanted));
    match like {
        Some(name) => format!(
            "there is no column {wanted}, the event time of the source, but one {name:?}; names \
             match exactly: write {name} in the job, or {wanted} in the file"
        ),
        None => format!(
            "there is no column {wanted}, the event time of the source; it has {}",
            some_of(names)
        ),
    }
}

fn is_like(name: &str, wanted: &str) -> bool {
    let name = name.trim_matches(|character: char| character.is_whitespace() || character == '"');
    name.to_lowercase() == wanted.to_lowercase()
}

/// The first of many names.
pub(super) fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let shown: Vec<&str> = names.take(SHOWN).collect();
    match shown.is_empty() {
        true => "none".to_owned(),
        false => shown.join(", "),
    }
}
