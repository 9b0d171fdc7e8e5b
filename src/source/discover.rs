//! Which files a source has now.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::format::{DiscoveryOrder, PathTime};
use super::location::{Scheme, SourceLocation};
use super::reader::InputFile;
use super::{SourceError, SourceResult};

/// A file that a listing has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Where it is in its store.
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its version, if the storage tells.
    pub etag: Option<String>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
    /// What errors call it: the location as written, and what follows.
    pub display: String,
    /// The earliest event time that it can hold, where that is known before it is read:
    /// microseconds since 1970.
    pub time_min_us: Option<i64>,
}

impl Discovered {
    /// The whole file, to be read.
    pub fn input_file(&self) -> InputFile {
        InputFile {
            location: self.path.clone(),
            size: self.size,
            etag: self.etag.clone(),
            display: self.display.clone(),
            row_groups: None,
        }
    }
}

/// Lists the files at `location`, in order, those of zero bytes too.
///
/// `store` is the bucket, or the local file system from `/` on. Folders are listed with all
/// below them; names that begin with `_` or `.` are skipped there, files and folders alike,
/// but not in the location itself. A local location that does not exist is an error; a
/// prefix without objects is empty.
///
/// In the order of the time in their paths, that is the earliest time which they can hold, and a
/// file without one is an error: wherever it was put, its rows or those of others would be late.
pub async fn discover(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    order: &DiscoveryOrder,
) -> SourceResult<Vec<Discovered>> {
    let (prefix, may_be_file) = prefix(location).await?;
    let mut found = match single(store, location, &prefix, may_be_file).await? {
        Some(file) => vec![file],
        None => list(store, location, &prefix).await?,
    };
    if let DiscoveryOrder::PathTime(times) = order {
        for file in &mut found {
            file.time_min_us = Some(path_time(file, &prefix, times)?);
        }
    }
    match order {
        DiscoveryOrder::Name => found.sort_by(|a, b| a.path.as_ref().cmp(b.path.as_ref())),
        DiscoveryOrder::Modified => {
            found.sort_by(|a, b| (a.modified, a.path.as_ref()).cmp(&(b.modified, b.path.as_ref())));
        }
        DiscoveryOrder::PathTime(_) => found.sort_by(|a, b| {
            (a.time_min_us, a.path.as_ref()).cmp(&(b.time_min_us, b.path.as_ref()))
        }),
    }
    Ok(found)
}

/// The time in a file's path below the location, or in its name where the location is the file.
fn path_time(file: &Discovered, prefix: &Path, times: &PathTime) -> SourceResult<i64> {
    let below = relative(&file.path, prefix);
    let path = below.as_deref().or(file.path.filename()).unwrap_or_default();
    times.find(path).ok_or_else(|| SourceError::BadJob {
        location: file.display.clone(),
        message: match &times.pattern {
            Some(pattern) => format!(
                "has no time in its path as discovery.path_time says it, {pattern}; correct the \
                 pattern, move the file away, or write order: name"
            ),
            None => "has no time in its path in any common form; write discovery.path_time for \
                     where it stands, such as dt=%Y-%m-%d/hour=%H/, move the file away, or write \
                     order: name"
                .to_owned(),
        },
    })
}

/// The location's root in its store, and whether it may be a file.
async fn prefix(location: &SourceLocation) -> SourceResult<(Path, bool)> {
    let bad = |message: String| SourceError::BadJob { location: location.text.clone(), message };
    if let Scheme::S3 { .. } = location.scheme {
        let may_be_file = location.pattern.is_none()
            && !location.root.is_empty()
            && !location.root.ends_with('/');
        let path = Path::parse(&location.root).map_err(|error| bad(error.to_string()))?;
        return Ok((path, may_be_file));
    }
    let missing = |error: std::io::Error| SourceError::Unavailable {
        file: location.text.clone(),
        message: match error.kind() {
            std::io::ErrorKind::NotFound => format!("{} does not exist", absolute(&location.root)),
            _ => format!("{} cannot be read: {error}", absolute(&location.root)),
        },
        source: Some(Box::new(error)),
    };
    let path = tokio::fs::canonicalize(&location.root).await.map_err(missing)?;
    let is_dir = tokio::fs::metadata(&path).await.map_err(missing)?.is_dir();
    if !is_dir && location.pattern.is_some() {
        return Err(bad(format!("{} is a file, not a folder", location.root)));
    }
    let path = Path::from_absolute_path(&path).map_err(|error| bad(error.to_string()))?;
    Ok((path, !is_dir))
}

/// A relative location is a question of the working directory: errors show the whole path.
fn absolute(root: &str) -> String {
    match std::path::absolute(root) {
        Ok(path) => path.display().to_string(),
        Err(_) => root.to_owned(),
    }
}

/// The one file that the location names, if it names one.
async fn single(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    prefix: &Path,
    may_be_file: bool,
) -> SourceResult<Option<Discovered>> {
    if !may_be_file {
        return Ok(None);
    }
    match store.head(prefix).await {
        Ok(meta) => Ok(Some(discovered(meta, location.text.clone()))),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(SourceError::store(&location.text, error)),
    }
}

async fn list(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    prefix: &Path,
) -> SourceResult<Vec<Discovered>> {
    let pattern = location.pattern.as_deref().map(Pattern::new).transpose().map_err(|error| {
        SourceError::BadJob {
            location: location.text.clone(),
            message: format!("is not a glob: {error}"),
        }
    })?;
    store
        .list(Some(prefix))
        .map_err(|error| SourceError::store(&location.text, error))
        .try_filter_map(|meta| {
            let file = relative(&meta.location, prefix)
                .filter(|relative| is_wanted(relative, pattern.as_ref()))
                .map(|relative| display(location, &relative));
            futures::future::ready(Ok(file.map(|display| discovered(meta, display))))
        })
        .try_collect()
        .await
}

/// The path below the prefix; `None` for the marker of the folder itself.
fn relative(path: &Path, prefix: &Path) -> Option<String> {
    let rest = path.as_ref().strip_prefix(prefix.as_ref())?.trim_start_matches('/');
    (!rest.is_empty()).then(|| rest.to_owned())
}

fn is_wanted(relative: &str, pattern: Option<&Pattern>) -> bool {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    !relative.split('/').any(|name| name.starts_with(['_', '.']))
        && pattern.is_none_or(|pattern| pattern.matches_with(relative, options))
}

fn display(location: &SourceLocation, relative: &str) -> String {
    let root = location.root.trim_end_matches('/');
    match &location.scheme {
        Scheme::S3 { bucket } if root.is_empty() => format!("s3://{bucket}/{relative}"),
        Scheme::S3 { bucket } => format!("s3://{bucket}/{root}/{relative}"),
        Scheme::Local if root == "." => relative.to_owned(),
        Scheme::Local => format!("{root}/{relative}"),
    }
}

fn discovered(meta: ObjectMeta, display: String) -> Discovered {
    Discovered {
        path: meta.location,
        size: meta.size,
        etag: meta.e_tag,
        modified: meta.last_modified,
        display,
        time_min_us: None,
    }
}

#[cfg(test)]
mod tests;
