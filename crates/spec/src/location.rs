//! Locations: where a source, a sink or the state is.
//!
//! Owns which locations there are (a path, `file://`, `s3://`) and which of them overlap. It
//! does not list or open them.

mod overlap;
mod prefix;
#[cfg(test)]
mod tests;

pub(crate) use overlap::{nested, reads_back};
pub use prefix::Prefix;

use std::path::Path;

use crate::item::Item;
use crate::report::quoted;

/// The longest location; S3 keys end there too.
const LOCATION_BYTES_MAX: usize = 1024;
const SCHEMES: &str = "a path, file:///path/ or s3://bucket/prefix/";

/// Where a location leads, so that two can be compared however they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The bucket; none for a local path.
    bucket: Option<String>,
    /// The names along the path, without `.` and `..`.
    parts: Vec<String>,
}

/// What a location is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Files are read: wildcards are fine.
    Read,
    /// Files are written: it is one folder.
    Write,
}

/// Reads a location; the text is kept as it is.
pub(crate) fn location(item: &Item<'_>, purpose: Purpose) -> Option<String> {
    item.parsed(SCHEMES, |text| place(text, purpose).map(|_| text.to_owned()))
}

/// Where a location leads.
///
/// # Errors
///
/// Says what is wrong with the text and what to write.
pub(crate) fn place(text: &str, purpose: Purpose) -> Result<Place, String> {
    let shown = quoted(text);
    if text.trim().is_empty() {
        return Err(format!("{shown} is empty; write {SCHEMES}"));
    }
    if text.len() > LOCATION_BYTES_MAX || text.contains('\0') {
        let max = LOCATION_BYTES_MAX;
        return Err(format!("{shown} is not a location; write {SCHEMES}, at most {max} bytes"));
    }
    if purpose == Purpose::Write && text.contains(['*', '?', '[']) {
        return Err(format!("{shown} has a wildcard; write one folder to write into"));
    }
    match text.split_once("://") {
        None => local(text),
        Some(("file", path)) if path.starts_with('/') => local(path),
        Some(("file", path)) => {
            let path = path.trim_start_matches("./");
            Err(format!("{shown} has no absolute path; write file:///{path} or ./{path}"))
        }
        Some(("s3", rest)) => s3(rest, &shown),
        Some((scheme, rest)) => Err(unknown_scheme(scheme, rest, &shown)),
    }
}

fn unknown_scheme(scheme: &str, rest: &str, shown: &str) -> String {
    let right = match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" | "s3n" => format!("s3://{rest}"),
        "file" => format!("file://{rest}"),
        _ => SCHEMES.to_owned(),
    };
    format!("{shown} has an unknown scheme, {scheme}; write {right}")
}

fn s3(rest: &str, shown: &str) -> Result<Place, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err(format!("{shown} names no bucket; write s3://bucket/prefix/"));
    }
    Ok(Place { bucket: Some(bucket.to_owned()), parts: parts(prefix) })
}

fn local(path: &str) -> Result<Place, String> {
    if path.starts_with("s3:") || path.starts_with("file:") {
        let shown = quoted(path);
        return Err(format!("{shown} has no // after its scheme; write {SCHEMES}"));
    }
    // Relative paths are compared with absolute ones from where the job runs.
    let absolute = std::path::absolute(Path::new(path)).unwrap_or_else(|_| path.into());
    Ok(Place { bucket: None, parts: parts(&absolute.to_string_lossy()) })
}

fn parts(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts
}
