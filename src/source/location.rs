//! Where a source's files are, as the job says it: a folder, a file or a glob, on the local
//! disk or in a bucket. This only reads the text; nothing is opened.

use glob::Pattern;
use serde::{Deserialize, Serialize};

use super::{SourceError, SourceResult};

/// The kind of storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// The local file system.
    Local,
    /// S3, or a server that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
    },
}

/// A location, split where its pattern begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// The location as the job has it.
    pub text: String,
    /// The kind of storage.
    pub scheme: Scheme,
    /// The folder or file before any pattern: a local path as written, absolute or relative
    /// (`.` if there is nothing), or a prefix in the bucket, as it stands.
    pub root: String,
    /// A glob over what follows `root/`: `*` and `?` stay within a name, `**` does not.
    pub pattern: Option<String>,
}

/// Reads a location: a local path, `file://...` or `s3://bucket/prefix`.
pub fn split_location(text: &str) -> SourceResult<SourceLocation> {
    let bad = |message: String| SourceError::BadJob { location: text.to_owned(), message };
    let (scheme, path) = match text.split_once("://") {
        None => (Scheme::Local, text.to_owned()),
        Some(("file", path)) => {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(bad("a file:// location is absolute; write file:///folder/".into()));
            }
            (Scheme::Local, percent_decoded(path).ok_or_else(|| bad("is not valid UTF-8".into()))?)
        }
        Some(("s3", path)) => {
            let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
            if bucket.is_empty() || bucket.contains(['*', '?', '[']) {
                return Err(bad("names no bucket; write s3://bucket/prefix/".into()));
            }
            (Scheme::S3 { bucket: bucket.to_owned() }, prefix.to_owned())
        }
        Some((other, _)) => {
            return Err(bad(format!(
                "{other}:// is not known; write a path, file:// or s3://bucket/prefix/"
            )));
        }
    };
    if scheme == Scheme::Local && path.is_empty() {
        return Err(bad("is empty; write a folder, a file or a glob".into()));
    }
    let (mut root, pattern) = split_pattern(&path);
    if let Some(pattern) = &pattern {
        Pattern::new(pattern).map_err(|error| bad(format!("is not a glob: {error}")))?;
    }
    if scheme == Scheme::Local && root.is_empty() {
        root = if path.starts_with('/') { "/".into() } else { ".".into() };
    }
    Ok(SourceLocation { text: text.to_owned(), scheme, root, pattern })
}

/// Splits before the first name that has a wildcard in it.
fn split_pattern(path: &str) -> (String, Option<String>) {
    let Some(wildcard) = path.find(['*', '?', '[']) else {
        return (path.to_owned(), None);
    };
    match path[..wildcard].rfind('/') {
        None => (String::new(), Some(path.to_owned())),
        Some(slash) => (path[..slash].to_owned(), Some(path[slash + 1..].to_owned())),
    }
}

/// Resolves `%20` and its like.
pub(super) fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Scheme, String, Option<String>) {
        let location = split_location(text).unwrap();
        (location.scheme, location.root, location.pattern)
    }

    fn local(root: &str, pattern: Option<&str>) -> (Scheme, String, Option<String>) {
        (Scheme::Local, root.into(), pattern.map(Into::into))
    }

    #[test]
    fn paths_are_split_where_their_pattern_begins() {
        assert_eq!(split("./data/flows/"), local("./data/flows/", None));
        assert_eq!(split("/data/a.json"), local("/data/a.json", None));
        assert_eq!(split("/data/2026-*/**/*.json"), local("/data", Some("2026-*/**/*.json")));
        assert_eq!(split("*.json"), local(".", Some("*.json")));
        assert_eq!(split("/*.json"), local("/", Some("*.json")));
        assert_eq!(split("data/part-[0-3].json"), local("data", Some("part-[0-3].json")));
        assert_eq!(split("file:///data/my%20logs/?.gz"), local("/data/my logs", Some("?.gz")));
    }

    #[test]
    fn buckets_are_split_from_prefixes() {
        let s3 = |root: &str, pattern: Option<&str>| {
            (Scheme::S3 { bucket: "logs".into() }, root.to_owned(), pattern.map(str::to_owned))
        };
        assert_eq!(split("s3://logs"), s3("", None));
        assert_eq!(split("s3://logs/a/b/"), s3("a/b/", None));
        assert_eq!(split("s3://logs/a/*/b.json"), s3("a", Some("*/b.json")));
        assert_eq!(split("s3://logs/*.json"), s3("", Some("*.json")));
    }

    #[test]
    fn a_bad_location_says_what_would_be_right() {
        for (text, says) in [
            ("gs://bucket/x", "gs:// is not known"),
            ("s3:///x", "names no bucket"),
            ("file://data", "file:///folder/"),
            ("", "is empty"),
            ("data/[a", "is not a glob"),
        ] {
            let error = split_location(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
