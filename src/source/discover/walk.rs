//! The files below a local folder, each once, whatever their names are.
//!
//! Real folders come first, links to folders after them in the order of their names: so which of
//! two ways leads to a folder does not depend on the order in which the system shows names, and a
//! link that leads back to where the walk has been is left out.
//!
//! A folder that the memory knows as it is now is not listed; those in it are gone to by their names.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::memory::{Folder, ListingMemory, Mark};
use super::mounts::Mounts;

/// A file that the walk has found and the memory does not know.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path below the folder.
    pub(super) below: Vec<u8>,
    pub(super) size: u64,
    pub(super) mtime_s: i64,
    pub(super) mtime_nsec: i64,
    pub(super) inode: u64,
    pub(super) mark: Mark,
}

impl Found {
    /// What the memory knows of the one file that is a location.
    pub(super) fn single(name: Vec<u8>, metadata: &Metadata, memory: &ListingMemory) -> Self {
        let (mtime_s, mtime_nsec) = (metadata.mtime(), metadata.mtime_nsec());
        let version = (mtime_s, mtime_nsec, metadata.len());
        let mark = memory.mark(memory.key(&name), version);
        let (size, inode) = (metadata.len(), metadata.ino());
        Self { below: name, size, mtime_s, mtime_nsec, inode, mark }
    }

    /// A name of which nothing is known.
    pub(super) fn unknown(below: Vec<u8>) -> Self {
        let mark = Mark::default();
        Self { below, size: 0, mtime_s: 0, mtime_nsec: 0, inode: 0, mark }
    }
}

/// A name that something is wrong with.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) below: Vec<u8>,
    pub(super) error: io::Error,
}

/// What the walk gave.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) found: Vec<Found>,
    pub(super) troubles: Vec<Trouble>,
}

/// Walks below `root`. `is_wanted` says it of the path of a file, `enters` of the name of a folder.
///
/// # Errors
/// When `root` itself cannot be listed.
pub(super) fn walk(
    root: PathBuf,
    is_wanted: &dyn Fn(&[u8]) -> bool,
    enters: &dyn Fn(&[u8]) -> bool,
    memory: &mut ListingMemory,
) -> io::Result<Walked> {
    let mut walk = Walk {
        is_wanted,
        enters,
        memory,
        mounts: Mounts::of_system(),
        listing: Folder::default(),
        been: HashSet::new(),
        folders: Vec::new(),
        links: Vec::new(),
        walked: Walked::default(),
    };
    walk.enter(root, Vec::new())?;
    loop {
        let (folder, below) = match walk.folders.pop() {
            Some(next) => next,
            None => {
                walk.links.sort_by(|a, b| b.1.cmp(&a.1));
                match walk.links.pop() {
                    Some(next) => next,
                    None => {
                        walk.memory.keep_folders(&walk.been);
                        return Ok(walk.walked);
                    }
                }
            }
        };
        if let Err(error) = walk.enter(folder, below.clone()) {
            walk.trouble(below, error);
        }
    }
}

struct Walk<'a> {
    is_wanted: &'a dyn Fn(&[u8]) -> bool,
    enters: &'a dyn Fn(&[u8]) -> bool,
    memory: &'a mut ListingMemory,
    mounts: Mounts,
    /// The folder that is listed.
    listing: Folder,
    /// Device and inode of each folder that was listed.
    been: HashSet<(u64, u64)>,
    /// Folders to list, with their path below the root.
    folders: Vec<(PathBuf, Vec<u8>)>,
    links: Vec<(PathBuf, Vec<u8>)>,
    walked: Walked,
}

impl Walk<'_> {
    /// Lists one folder, where the walk has not been there.
    fn enter(&mut self, folder: PathBuf, below: Vec<u8>) -> io::Result<()> {
        let metadata = std::fs::metadata(&folder)?;
        let id = (metadata.dev(), metadata.ino());
        if !self.been.insert(id) {
            return Ok(());
        }
        let mut path = below.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        let length = path.len();
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        if let Some(known) = self.memory.unchanged(id, &below, changed) {
            let of_name = |name: &OsString| [path.as_slice(), name.as_bytes()].concat();
            let inner = known.folders.iter().map(|name| (folder.join(name), of_name(name)));
            self.folders.extend(inner);
            return Ok(());
        }
        self.listing = Folder {
            below,
            changed,
            folders: vec![],
            is_settled: self.mounts.keep_times(id.0) && self.memory.is_old(changed.0),
            listed: self.memory.folder(id).map_or(0, |folder| folder.listed + 1),
        };
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            path.truncate(length);
            path.extend_from_slice(entry.file_name().as_bytes());
            if let Err(error) = self.entry(&entry, &path) {
                self.listing.is_settled = false;
                self.trouble(path.clone(), error);
            }
        }
        self.memory.folder_listed(id, std::mem::take(&mut self.listing));
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, path: &[u8]) -> io::Result<()> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if (self.enters)(path) {
                self.folders.push((entry.path(), path.to_vec()));
                self.listing.folders.push(entry.file_name());
            }
            return Ok(());
        }
        // What a link leads to has times of its own.
        self.listing.is_settled &= !kind.is_symlink();
        let key = self.memory.key(path);
        if self.memory.may_pass(key, self.listing.listed) {
            return Ok(());
        }
        if kind.is_file() && !(self.is_wanted)(path) {
            return Ok(());
        }
        let metadata = match kind.is_symlink() {
            true => std::fs::metadata(entry.path())?,
            false => entry.metadata()?,
        };
        if metadata.is_dir() {
            if (self.enters)(path) {
                self.links.push((entry.path(), path.to_vec()));
            }
        } else if metadata.is_file() && (self.is_wanted)(path) {
            // A pipe, a socket or a device is no file of rows: reading it could wait for ever.
            self.file(path, key, &metadata);
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], key: u64, metadata: &Metadata) {
        let (mtime_s, mtime_nsec) = (metadata.mtime(), metadata.mtime_nsec());
        let (size, inode) = (metadata.len(), metadata.ino());
        let mark = self.memory.mark(key, (mtime_s, mtime_nsec, size));
        if !self.memory.is_known(mark) {
            self.listing.is_settled = false;
            let below = path.to_vec();
            self.walked.found.push(Found { below, size, mtime_s, mtime_nsec, inode, mark });
        }
    }

    /// What is gone since its name was read is no trouble, nor is a link that leads nowhere.
    fn trouble(&mut self, below: Vec<u8>, error: io::Error) {
        let is_hidden = !(self.enters)(&below);
        if error.kind() != io::ErrorKind::NotFound && !is_hidden {
            self.walked.troubles.push(Trouble { below, error });
        }
    }
}
