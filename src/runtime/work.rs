//! What one epoch takes on: files of each source, and sources that are silent.

use std::collections::{BTreeMap, BTreeSet};

use tidegauge_commitlog::{SeenFile, Tail};

use super::doubtful::FileRows;
use crate::source::{Discovered, InputFile};

/// The input of one epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    files: BTreeMap<String, Vec<Discovered>>,
    idle: BTreeSet<String>,
    closing: BTreeSet<String>,
    hold_us: BTreeMap<String, i64>,
}

/// A file of an epoch: its source and its key.
pub(super) type Place = (String, String);

impl Work {
    /// Adds a source's files, in the order in which they are read.
    pub(super) fn add_files(&mut self, source: &str, files: Vec<Discovered>) {
        self.files.entry(source.to_owned()).or_default().extend(files);
    }

    /// Says that a source holds no other back.
    pub(super) fn add_idle(&mut self, source: &str) {
        self.idle.insert(source.to_owned());
    }

    /// Says that what is open of a source is to close, because it is drained or was silent for as
    /// long as is set for that; it holds no other back either.
    pub(super) fn add_closing(&mut self, source: &str) {
        self.add_idle(source);
        self.closing.insert(source.to_owned());
    }

    /// Says that files of a source wait for a later epoch, the earliest of their rows at `hold_us`.
    pub(super) fn add_hold(&mut self, source: &str, hold_us: i64) {
        self.hold_us.insert(source.to_owned(), hold_us);
    }

    /// The time that a source's watermark may not pass in this epoch, where one is known.
    pub(super) fn hold_us(&self, source: &str) -> Option<i64> {
        self.hold_us.get(source).copied()
    }

    pub(super) fn is_idle(&self, source: &str) -> bool {
        self.idle.contains(source)
    }

    pub(super) fn is_closing(&self, source: &str) -> bool {
        self.closing.contains(source)
    }

    pub(super) fn has_files(&self) -> bool {
        self.files.values().any(|files| !files.is_empty())
    }

    /// The files of a source for its decoder. Those of zero bytes hold no rows, in any format: a
    /// writer may have made them and not filled them yet.
    pub(super) fn input_files(&self, source: &str) -> Vec<InputFile> {
        let filled = self.of(source).iter().filter(|file| file.size > 0);
        filled.map(Discovered::input_file).collect()
    }

    /// The files of a source for the record. Of one without rows nothing was read: what its writer fills
    /// in later is read then.
    pub(super) fn seen_files(&self, source: &str, rows: Option<&FileRows>) -> Vec<SeenFile> {
        let seen = |file: &Discovered| {
            let seen = file.seen_file();
            let is_blank =
                file.part.is_none() && rows.is_some_and(|rows| rows.has_none_of(&file.display));
            match is_blank {
                true => SeenFile { tail: Some(Tail { bytes: 0, head: None }), ..seen },
                false => seen,
            }
        };
        self.of(source).iter().map(seen).collect()
    }

    /// All files with their places.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, &Discovered)> {
        self.files.iter().flat_map(|(source, files)| {
            files.iter().map(move |file| ((source.clone(), file.key.clone()), file))
        })
    }

    /// The file that an error's message begins with.
    pub(super) fn named_in(&self, message: &str) -> Option<Place> {
        let named = self.all().filter(|(_, file)| {
            let rest = message.strip_prefix(file.input_file().display.as_str());
            rest.is_some_and(|rest| rest.starts_with(':'))
        });
        named.max_by_key(|(_, file)| file.display.len()).map(|(place, _)| place)
    }

    /// Takes a file out of the epoch.
    pub(super) fn remove(&mut self, (source, key): &Place) -> Option<Discovered> {
        let files = self.files.get_mut(source)?;
        let at = files.iter().position(|file| file.key == *key)?;
        Some(files.remove(at))
    }

    /// Puts another version of a file in its place.
    pub(super) fn replace(&mut self, (source, key): &Place, file: Discovered) {
        let files = self.files.get_mut(source).into_iter().flatten();
        for old in files.filter(|old| old.key == *key) {
            *old = file.clone();
        }
    }

    fn of(&self, source: &str) -> &[Discovered] {
        self.files.get(source).map(Vec::as_slice).unwrap_or_default()
    }
}
