//! Which files a source has now that are not known to be processed.
//!
//! ```text
//!  local folder --walk--> names \
//!                                -- wanted? known? --> files in order, and what is wrong with some
//!  bucket       --list--> keys  /
//! ```

mod base;
mod memory;
mod mounts;
mod walk;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tidegauge_commitlog::{SeenFile, Tail};

pub use self::base::key_from;
pub use self::memory::{ListingMemory, Mark};
use self::walk::{Found, walk};
use super::address::{address, key_at, shown, text_of};
use super::format::{DiscoveryOrder, PathTime};
use super::local_files::{modified, version_of};
use super::location::{Scheme, SourceLocation};
use super::reader::{FilePart, InputFile};
use super::{SourceError, SourceResult};

/// A file that a listing has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Where it is in its store.
    pub path: Path,
    /// What the state calls it: its path below the location.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version, if the storage tells.
    pub etag: Option<String>,
    /// The version by which builds before `TGSEEN02` knew a local file, its inode within.
    pub etag_old: Option<String>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
    /// What errors call it: the location as written, and what follows.
    pub display: String,
    /// The earliest event time that it can hold, where that is known before it is read:
    /// microseconds since 1970.
    pub time_min_us: Option<i64>,
    /// The part of it that is to be read, where that is not all.
    pub part: Option<FilePart>,
    /// How far it is read with that part.
    pub tail: Option<Tail>,
    /// What the next listing recognises it by.
    pub mark: Mark,
    /// It could not be used before: it is to be read through before an epoch takes it.
    pub is_doubtful: bool,
}

/// A name that cannot be read as it is.
#[derive(Debug)]
pub struct Unusable {
    /// The file, or the folder.
    pub file: Discovered,
    /// What is wrong with it.
    pub error: SourceError,
}

/// What a listing gave.
#[derive(Debug, Default)]
pub struct Listing {
    /// Where the keys of the files begin: a folder of the machine, or a bucket and a prefix.
    pub root: String,
    /// The files that the memory does not know, in the order of the source, those of zero bytes
    /// too.
    pub files: Vec<Discovered>,
    /// What is there and cannot be taken.
    pub unusable: Vec<Unusable>,
}

impl Discovered {
    /// What is to be read of the file.
    pub fn input_file(&self) -> InputFile {
        InputFile {
            location: self.path.clone(),
            size: self.size,
            // A file that grows has another version by now, and the same lines.
            etag: self.etag.clone().filter(|_| self.part.is_none()),
            display: match self.part {
                Some(part) if part.start > 0 => {
                    format!("{} from byte {} on", self.display, part.start)
                }
                _ => self.display.clone(),
            },
            row_groups: None,
            part: self.part,
        }
    }

    /// The file for the record.
    pub fn seen_file(&self) -> SeenFile {
        let seen = SeenFile::new(self.key.clone(), self.etag.as_deref(), self.size);
        SeenFile { tail: self.tail, ..seen }
    }

    /// The key by which builds before `TGSEEN02` knew it.
    pub fn key_old(&self) -> &str {
        self.path.as_ref()
    }
}

/// Lists the files at `location` at `now_ms`, in order, but for those that `memory` knows.
///
/// `store` is the bucket; local folders are walked. Folders are listed with all below them; names
/// that begin with `_` or `.` are skipped there, files and folders alike, but not in the location
/// itself. A local location that does not exist is an error; a prefix without objects is empty.
///
/// In the order of the time in their paths, that is the earliest time which they can hold, and a
/// file without one is unusable: wherever it was put, its rows or those of others would be late.
pub async fn discover(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    order: &DiscoveryOrder,
    memory: &mut ListingMemory,
    now_ms: i64,
) -> SourceResult<Listing> {
    memory.begin(now_ms);
    let wanted = Wanted::new(location)?;
    let mut listing = match &location.scheme {
        Scheme::Local => local(location, wanted, memory).await?,
        Scheme::S3 { bucket } => bucket_files(store, location, bucket, &wanted, memory).await?,
    };
    if let DiscoveryOrder::PathTime(times) = order {
        let found = std::mem::take(&mut listing.files);
        for mut file in found {
            match path_time(&file, times) {
                Ok(time_us) => {
                    file.time_min_us = Some(time_us);
                    listing.files.push(file);
                }
                Err(error) => listing.unusable.push(Unusable { file, error }),
            }
        }
    }
    sort(&mut listing.files, order);
    Ok(listing)
}

fn sort(files: &mut [Discovered], order: &DiscoveryOrder) {
    let by_key = |a: &Discovered, b: &Discovered| a.key.cmp(&b.key);
    match order {
        DiscoveryOrder::Name => files.sort_by(by_key),
        DiscoveryOrder::Modified => {
            files.sort_by(|a, b| a.modified.cmp(&b.modified).then_with(|| by_key(a, b)));
        }
        DiscoveryOrder::PathTime(_) => {
            files.sort_by(|a, b| a.time_min_us.cmp(&b.time_min_us).then_with(|| by_key(a, b)));
        }
    }
}

/// The time in a file's path below the location, or in its name where the location is the file.
fn path_time(file: &Discovered, times: &PathTime) -> SourceResult<i64> {
    times.find(&file.key).ok_or_else(|| SourceError::BadJob {
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

/// A listed file, looked at again.
#[derive(Debug)]
pub enum Looked {
    /// It is as it was listed; of a file that grows, its lines are still there.
    Same,
    /// It is there in another version.
    Changed(Box<Discovered>),
    /// It is not there any more; or its lines are not.
    Gone,
    /// The storage does not let it be read.
    Refused(SourceError),
    /// The storage did not say.
    Unknown,
}

/// Looks again at a file that was listed.
pub async fn look_again(store: &dyn ObjectStore, file: &Discovered) -> Looked {
    let meta = match store.head(&file.path).await {
        Ok(meta) => meta,
        Err(object_store::Error::NotFound { .. }) => return Looked::Gone,
        Err(
            error @ (object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }),
        ) => return Looked::Refused(SourceError::store(&file.display, error)),
        Err(_) => return Looked::Unknown,
    };
    match file.part {
        Some(part) if meta.size < part.end => Looked::Gone,
        Some(_) => Looked::Same,
        None if (meta.size, &meta.e_tag) == (file.size, &file.etag) => Looked::Same,
        None => Looked::Changed(Box::new(Discovered {
            size: meta.size,
            etag: meta.e_tag,
            modified: meta.last_modified,
            ..file.clone()
        })),
    }
}

/// What is taken of what is below a location.
struct Wanted {
    pattern: Option<Pattern>,
}

impl Wanted {
    fn new(location: &SourceLocation) -> SourceResult<Self> {
        let pattern = location.pattern.as_deref().map(Pattern::new).transpose();
        let pattern = pattern.map_err(|error| SourceError::BadJob {
            location: location.text.clone(),
            message: format!("is not a glob: {error}"),
        })?;
        Ok(Self { pattern })
    }

    fn takes(&self, below: &[u8]) -> bool {
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        !below.split(|byte| *byte == b'/').any(is_hidden)
            && self.pattern.as_ref().is_none_or(|pattern| {
                pattern.matches_with(&String::from_utf8_lossy(below), options)
            })
    }
}

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b"_") || name.starts_with(b".")
}

/// Walks a local folder, or looks at the one file that is the location, on a thread that may block.
async fn local(
    location: &SourceLocation,
    wanted: Wanted,
    memory: &mut ListingMemory,
) -> SourceResult<Listing> {
    let (at, mut lent) = (location.clone(), std::mem::take(memory));
    let walked =
        tokio::task::spawn_blocking(move || (walk_local(&at, &wanted, &mut lent), lent)).await;
    let (listing, lent) = walked.map_err(|error| SourceError::Unavailable {
        file: location.text.clone(),
        message: "could not be listed: the listing stopped".to_owned(),
        source: Some(Box::new(error)),
    })?;
    *memory = lent;
    listing
}

fn walk_local(
    location: &SourceLocation,
    wanted: &Wanted,
    memory: &mut ListingMemory,
) -> SourceResult<Listing> {
    let missing = |error: std::io::Error| SourceError::Unavailable {
        file: location.text.clone(),
        message: match error.kind() {
            std::io::ErrorKind::NotFound => format!("{} does not exist", absolute(&location.root)),
            _ => format!("{} cannot be read: {error}", absolute(&location.root)),
        },
        source: Some(Box::new(error)),
    };
    let root = std::fs::canonicalize(&location.root).map_err(missing)?;
    let metadata = std::fs::metadata(&root).map_err(missing)?;
    if metadata.is_dir() {
        let enters = |below: &[u8]| {
            !is_hidden(below.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
        };
        let takes = |below: &[u8]| wanted.takes(below);
        let walked = walk(root.clone(), &takes, &enters, memory).map_err(missing)?;
        let files = walked.found.iter().map(|found| of_folder(location, &root, found));
        let unusable = walked.troubles.into_iter().map(|trouble| {
            let found = Found::unknown(trouble.below);
            let file = of_folder(location, &root, &found);
            let error = SourceError::unreadable(&file.display, trouble.error);
            Unusable { file, error }
        });
        return Ok(Listing {
            files: files.collect(),
            unusable: unusable.collect(),
            root: shown_path(&root),
        });
    }
    if location.pattern.is_some() {
        return Err(SourceError::BadJob {
            location: location.text.clone(),
            message: format!("{} is a file, not a folder", location.root),
        });
    }
    let (folder, name) = (root.parent().unwrap_or(&root), root.file_name().unwrap_or_default());
    let found = Found::single(os_bytes(name).to_vec(), &metadata, memory);
    let is_known = memory.is_known(found.mark);
    let file = Discovered { display: location.text.clone(), ..of_folder(location, folder, &found) };
    let files = if is_known { vec![] } else { vec![file] };
    Ok(Listing { files, unusable: vec![], root: shown_path(folder) })
}

fn of_folder(location: &SourceLocation, root: &std::path::Path, found: &Found) -> Discovered {
    let mut whole = os_bytes(root.as_os_str()).to_vec();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(&found.below);
    let mtime_us = found.mtime_s.saturating_mul(1_000_000) + found.mtime_nsec / 1_000;
    Discovered {
        path: address(whole.strip_prefix(b"/").unwrap_or(&whole)),
        key: text_of(&found.below),
        size: found.size,
        etag: Some(version_of(found.mtime_s, found.mtime_nsec, found.size)),
        etag_old: Some(format!("{:x}-{mtime_us:x}-{:x}", found.inode, found.size)),
        modified: modified(found.mtime_s, found.mtime_nsec),
        display: display(location, &found.below),
        time_min_us: None,
        part: None,
        tail: None,
        mark: found.mark,
        is_doubtful: false,
    }
}

fn os_bytes(name: &std::ffi::OsStr) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(name)
}

fn shown_path(path: &std::path::Path) -> String {
    text_of(os_bytes(path.as_os_str()))
}

/// A relative location is a question of the working directory: errors show the whole path.
fn absolute(root: &str) -> String {
    match std::path::absolute(root) {
        Ok(path) => path.display().to_string(),
        Err(_) => root.to_owned(),
    }
}

/// The objects below a prefix, or the one that is the location.
async fn bucket_files(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    bucket: &str,
    wanted: &Wanted,
    memory: &ListingMemory,
) -> SourceResult<Listing> {
    let root = location.root.strip_suffix('/').unwrap_or(&location.root);
    let may_be_object =
        location.pattern.is_none() && !location.root.is_empty() && root == location.root;
    if may_be_object {
        let (folder, name) = root.rsplit_once('/').unwrap_or(("", root));
        match store.head(&address(root.as_bytes())).await {
            Ok(meta) => {
                let found = discovered(meta, name.as_bytes(), location.text.clone(), memory);
                let is_known = memory.is_known(found.mark);
                let files = if is_known { vec![] } else { vec![found] };
                let root = format!("{bucket}/{folder}");
                return Ok(Listing { files, unusable: vec![], root });
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(SourceError::store(&location.text, error)),
        }
    }
    let prefix = (!root.is_empty()).then(|| address(root.as_bytes()));
    let files: Vec<Discovered> = store
        .list(prefix.as_ref())
        .map_err(|error| SourceError::store(&location.text, error))
        .try_filter_map(|meta| {
            let key = key_at(&meta.location);
            let below = below(&key, root.as_bytes()).filter(|below| wanted.takes(below));
            let file = below.map(<[u8]>::to_vec).and_then(|below| {
                let shown = display(location, &below);
                let file = discovered(meta, &below, shown, memory);
                (!memory.is_known(file.mark)).then_some(file)
            });
            futures::future::ready(Ok(file))
        })
        .try_collect()
        .await?;
    if files.is_empty() && may_be_object && memory.is_empty() {
        refuse_part_of_name(store, location, root).await?;
    }
    Ok(Listing { files, unusable: vec![], root: format!("{bucket}/{root}") })
}

/// A prefix that ends within a name is no folder, and nothing below it would ever be found.
async fn refuse_part_of_name(
    store: &dyn ObjectStore,
    location: &SourceLocation,
    root: &str,
) -> SourceResult<()> {
    let next = store.list_with_offset(None, &address(root.as_bytes())).next().await.transpose();
    let next = next.map_err(|error| SourceError::store(&location.text, error))?;
    let Some(meta) = next else { return Ok(()) };
    let key = key_at(&meta.location);
    if !key.starts_with(root.as_bytes()) || below(&key, root.as_bytes()).is_some() {
        return Ok(());
    }
    Err(SourceError::BadJob {
        location: location.text.clone(),
        message: format!(
            "nothing is below it as a folder, but keys begin with it, such as {}; write {}* for \
             those, or {}/ for the folder",
            shown(&key),
            location.text,
            location.text
        ),
    })
}

/// What follows the prefix; `None` for the marker of the folder itself.
fn below<'a>(key: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let rest = match root.is_empty() {
        true => key,
        false => key.strip_prefix(root)?.strip_prefix(b"/")?,
    };
    (!rest.is_empty()).then_some(rest)
}

fn display(location: &SourceLocation, below: &[u8]) -> String {
    let root = location.root.trim_end_matches('/');
    let below = shown(below);
    match &location.scheme {
        Scheme::S3 { bucket } if root.is_empty() => format!("s3://{bucket}/{below}"),
        Scheme::S3 { bucket } => format!("s3://{bucket}/{root}/{below}"),
        Scheme::Local if root == "." => below,
        Scheme::Local => format!("{root}/{below}"),
    }
}

fn discovered(
    meta: ObjectMeta,
    below: &[u8],
    display: String,
    memory: &ListingMemory,
) -> Discovered {
    let version = (&meta.e_tag, meta.size, meta.last_modified);
    Discovered {
        mark: memory.mark(memory.key(below), version),
        path: meta.location,
        key: text_of(below),
        size: meta.size,
        etag: meta.e_tag,
        etag_old: None,
        modified: meta.last_modified,
        display,
        time_min_us: None,
        part: None,
        tail: None,
        is_doubtful: false,
    }
}

#[cfg(test)]
mod tests;
