//! Files that were listed and wait for their epoch: which are next, and how early the rows of the
//! others can be.
//!
//! ```text
//!  order of the source:  | a  b  c | d  e  f  g ... |  h ...
//!                          epoch     looked ahead      trusted to be later
//!                                    ^ the earliest of these holds the watermark
//! ```
//!
//! Under `path_time` every file's time is in its path. Of Parquet files the footer tells it, and
//! more exactly; it is read only of files that have to wait, so many ahead, and once.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use tidegauge_spec::{EpochSpec, Format};

use super::compile::SourceRuntime;
use crate::error::{ErrorKind, Result};
use crate::source::{Discovered, parquet_time_min};

/// Of more files than this the footers are not known yet: their order is trusted until then.
const AHEAD_MAX: usize = 10_000;
/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 32;

/// The files of one source that wait, in its order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    files: VecDeque<Discovered>,
    /// So many of the first files' footers were read.
    looked: usize,
}

impl Pending {
    /// Files whose rows may be older than the times that are known of them by `slack_us`.
    pub(super) fn new(mut files: Vec<Discovered>, slack_us: i64) -> Self {
        for file in &mut files {
            file.time_min_us = file.time_min_us.map(|us| us.saturating_sub(slack_us));
        }
        Self { files: files.into(), looked: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether any file is there that may hold rows.
    pub(super) fn has_rows(&self) -> bool {
        self.files.iter().any(|file| file.size > 0)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Discovered> {
        self.files.iter()
    }

    /// The next files within an epoch's bounds; one at least, if any waits.
    pub(super) fn take(&mut self, bounds: &EpochSpec) -> Vec<Discovered> {
        let mut bytes: u64 = 0;
        let mut taken = Vec::new();
        while let Some(file) = self.files.front() {
            let fits = bytes.saturating_add(file.size) <= bounds.bytes_max
                && taken.len() < bounds.files_max;
            if !taken.is_empty() && !fits {
                break;
            }
            bytes = bytes.saturating_add(file.size);
            taken.extend(self.files.pop_front());
        }
        self.looked = self.looked.saturating_sub(taken.len());
        taken
    }

    /// Whether [`Pending::look_ahead`] would read anything.
    pub(super) fn has_to_look(&self, source: &SourceRuntime) -> bool {
        // Of a field inside a struct the footer's columns do not tell.
        source.spec.format == Format::Parquet
            && source.time.fields.is_empty()
            && self.looked < self.files.len().min(AHEAD_MAX)
    }

    /// Reads the footers of the files that wait next. One that is damaged or gone tells nothing, and
    /// its epoch leaves it out.
    ///
    /// # Errors
    /// When the storage does not answer: without a file's times, the watermark might pass them.
    pub(super) async fn look_ahead(&mut self, source: &SourceRuntime) -> Result<()> {
        let end = self.files.len().min(AHEAD_MAX);
        let field: &Field = source.table.schema.field(source.time.column);
        let unit = source.spec.event_time.unit;
        let files: Vec<_> =
            self.files.range(self.looked..end).map(Discovered::input_file).collect();
        let times: Vec<Option<i64>> = stream::iter(files)
            .map(|file| {
                let store = Arc::clone(&source.store);
                async move {
                    match parquet_time_min(Arc::clone(&store), &file, field, unit).await {
                        Err(error) if error.kind() == ErrorKind::Unavailable => {
                            match store.head(&file.location).await {
                                Err(object_store::Error::NotFound { .. }) => Ok(None),
                                Ok(meta) if meta.e_tag != file.etag => Ok(None),
                                _ => Err(error),
                            }
                        }
                        Err(_) => Ok(None),
                        told => told,
                    }
                }
            })
            .buffered(FOOTERS_AT_ONCE)
            .try_collect()
            .await?;
        for (file, time_min_us) in self.files.range_mut(self.looked..end).zip(times) {
            file.time_min_us = time_min_us.or(file.time_min_us);
        }
        self.looked = end;
        Ok(())
    }

    /// The time that the watermark may not pass while these files wait, where one is known.
    pub(super) fn hold_us(&self) -> Option<i64> {
        self.files.iter().filter_map(|file| file.time_min_us).min()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use object_store::path::Path;

    use super::*;
    use crate::source::Mark;

    fn file(name: &str, size: u64) -> Discovered {
        Discovered {
            path: Path::from(name),
            key: name.to_owned(),
            size,
            etag: None,
            etag_old: None,
            modified: DateTime::UNIX_EPOCH,
            display: name.to_owned(),
            time_min_us: None,
            part: None,
            tail: None,
            mark: Mark::default(),
            is_doubtful: false,
        }
    }

    #[test]
    fn an_epoch_takes_files_up_to_its_bounds_and_one_at_least() {
        let files = [9, 3, 3, 3, 3].map(|size| file("x", size)).to_vec();
        let mut pending = Pending { looked: 2, ..Pending::new(files, 0) };
        let bounds = EpochSpec { bytes_max: 8, files_max: 2, ..EpochSpec::default() };
        let mut sizes = Vec::new();
        while !pending.is_empty() {
            sizes.push(pending.take(&bounds).iter().map(|file| file.size).collect::<Vec<_>>());
        }
        assert_eq!(sizes, [vec![9], vec![3, 3], vec![3, 3]]);
        assert_eq!(pending.looked, 0);
    }
}
