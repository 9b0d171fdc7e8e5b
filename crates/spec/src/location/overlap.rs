//! Which locations overlap, so that a job never reads what it writes.

use super::Place;

/// Whether one of two folders is the other, or lies in it.
pub(crate) fn nested(one: &Place, other: &Place) -> bool {
    one.bucket == other.bucket && one.parts.iter().zip(&other.parts).all(|(a, b)| a == b)
}

/// Whether a source at `read` would take in Parquet files written below `written`.
///
/// Names that begin with `_` or `.` are never read unless the source names them itself. Where
/// wildcards leave it open, the answer is yes.
pub(crate) fn reads_back(read: &Place, written: &Place) -> bool {
    if read.bucket != written.bucket {
        return false;
    }
    for (index, pattern) in read.parts.iter().enumerate() {
        if pattern == "**" {
            return !written.parts[index..].iter().any(|part| hidden(part));
        }
        let Some(part) = written.parts.get(index) else {
            return could_be_written(&read.parts[index..]);
        };
        if !matches(pattern, part) {
            return false;
        }
    }
    !written.parts[read.parts.len()..].iter().any(|part| hidden(part))
}

/// Whether a source at `read` would take in anything below `folder`, whatever its ending.
///
/// As [`reads_back`], names that are hidden are not read unless the source names them itself.
pub(crate) fn reads_into(read: &Place, folder: &Place) -> bool {
    if read.bucket != folder.bucket {
        return false;
    }
    for (index, pattern) in read.parts.iter().enumerate() {
        if pattern == "**" {
            return !folder.parts[index..].iter().any(|part| hidden(part));
        }
        let Some(part) = folder.parts.get(index) else { return true };
        if !matches(pattern, part) {
            return false;
        }
    }
    !folder.parts[read.parts.len()..].iter().any(|part| hidden(part))
}

/// Whether the rest of a source's location, below what is written, can name written files.
fn could_be_written(rest: &[String]) -> bool {
    let other_ending = |last: &String| match last.rsplit_once('.') {
        Some((_, ending)) => !is_wild(ending) && ending != "parquet",
        None => false,
    };
    !rest.first().is_some_and(|first| hidden(first)) && !rest.last().is_some_and(other_ending)
}

fn hidden(part: &str) -> bool {
    part.starts_with(['_', '.'])
}

fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

fn matches(pattern: &str, part: &str) -> bool {
    if !is_wild(pattern) {
        return pattern == part;
    }
    if hidden(part) && !hidden(pattern) {
        return false;
    }
    // Sets and alternatives are not looked into: up to there it must match.
    match pattern.find(['[', '{']) {
        Some(at) => wild(&format!("{}*", &pattern[..at]), part),
        None => wild(pattern, part),
    }
}

/// Matches `*` and `?`, keeping for each prefix of the pattern whether it fits so far.
fn wild(pattern: &str, part: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut fits = vec![false; pattern.len() + 1];
    fits[0] = true;
    for (i, c) in pattern.iter().enumerate() {
        fits[i + 1] = fits[i] && *c == '*';
    }
    for letter in part.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (i, c) in pattern.iter().enumerate() {
            next[i + 1] = match c {
                '*' => next[i] || fits[i + 1] || fits[i],
                '?' => fits[i],
                c => fits[i] && *c == letter,
            };
        }
        fits = next;
    }
    fits[pattern.len()]
}
