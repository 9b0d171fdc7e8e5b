//! What becomes of an epoch when a file of it cannot be used: the file leaves the epoch, and the rest
//! goes on.
//!
//! ```text
//!  an attempt fails --> unavailable: the files are looked at again
//!                           gone       leaves the epoch, counted
//!                           changed    stays, in its new version; again and again: parked
//!                           refused    parked
//!                   \-> a bad record, a damaged file
//!                           the first        the file that the error names is parked
//!                           any after that   all files are read through alone, once, without
//!                                            plans, and those that cannot be used are parked
//! ```
//!
//! So an epoch of many bad files costs two attempts and one reading of all, not an attempt for
//! each. A file that was parked before is read through alone before an epoch takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use object_store::ObjectStore;

use super::engine::Engine;
use super::ingest::check_files;
use super::listing::warn_parked;
use super::parking::Fault;
use super::work::{Place, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Discovered, Looked, look_again};

/// Files are looked at again so many at a time.
const LOOKS_AT_ONCE: usize = 32;
/// A file that changes more often than this while one epoch reads it is left to a later one.
const CHANGES_MAX: u32 = 2;

/// What an epoch's attempts have failed on so far.
#[derive(Debug, Default)]
pub(super) struct Blame {
    bad_files: u32,
    was_checked: bool,
    changes: BTreeMap<Place, u32>,
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            error: error.message().to_owned(),
            kind: error.kind().to_string(),
            may_pass: error.kind() == ErrorKind::Unavailable,
        }
    }
}

impl Engine {
    /// Takes out of `work` what the failed attempt is to blame on. Returns whether another attempt
    /// has a chance that this one had not.
    pub(super) async fn leave_out(
        &mut self,
        work: &mut Work,
        error: &Error,
        blame: &mut Blame,
        is_last: bool,
    ) -> Result<bool> {
        let named = work.named_in(error.message());
        // What a worker says of a file comes without its name where the way is to blame.
        if named.is_none() && self.remote.is_none() {
            return Ok(false);
        }
        match error.kind() {
            ErrorKind::Unavailable => {
                let has_moved = self.look_again(work, named.as_ref(), blame).await?;
                match named.filter(|_| is_last && !has_moved) {
                    // The storage answers, and does not give this one file.
                    Some(place) => self.park(work, vec![(place, Fault::of(error))]).map(|()| true),
                    None => Ok(has_moved),
                }
            }
            ErrorKind::BadRecord | ErrorKind::Corrupt => {
                self.leave_bad(work, named, error, blame).await
            }
            ErrorKind::BadJob | ErrorKind::Fenced | ErrorKind::Bug => Ok(false),
        }
    }

    async fn leave_bad(
        &mut self,
        work: &mut Work,
        named: Option<Place>,
        error: &Error,
        blame: &mut Blame,
    ) -> Result<bool> {
        blame.bad_files += 1;
        let mut bad = Vec::new();
        if blame.bad_files > 1 && !blame.was_checked {
            blame.was_checked = true;
            bad = self.check(work, |_| true).await?;
        }
        if let Some(place) = named
            && !bad.iter().any(|(other, _)| *other == place)
        {
            bad.push((place, Fault::of(error)));
        }
        let has_moved = !bad.is_empty();
        self.park(work, bad)?;
        Ok(has_moved)
    }

    /// Reads through the files that were parked before, and parks them again or has them read.
    /// Returns whether there were any.
    pub(super) async fn check_doubtful(&mut self, work: &mut Work) -> Result<bool> {
        if !work.all().any(|(_, file)| file.is_doubtful) {
            return Ok(false);
        }
        let bad = self.check(work, |file| file.is_doubtful).await?;
        self.park(work, bad)?;
        Ok(true)
    }

    /// What is wrong with files of `work`, each read alone.
    async fn check(
        &mut self,
        work: &Work,
        which: impl Fn(&Discovered) -> bool,
    ) -> Result<Vec<(Place, Fault)>> {
        let attempt = self.log.begin();
        let context = self.context_here(&attempt);
        let mut bad = Vec::new();
        for source in &self.sources {
            let name = &source.table.name;
            let chosen = work.all().filter(|(place, file)| place.0 == *name && which(file));
            let (places, files): (Vec<Place>, Vec<_>) = chosen
                .filter(|(_, file)| file.size > 0)
                .map(|(place, file)| (place, file.input_file()))
                .unzip();
            if files.is_empty() {
                continue;
            }
            let found = check_files(&self.job, source, files, &context).await?;
            bad.extend(
                found
                    .into_iter()
                    .filter_map(|(at, error)| Some((places.get(at)?.clone(), Fault::of(&error)))),
            );
        }
        Ok(bad)
    }

    fn park(&mut self, work: &mut Work, bad: Vec<(Place, Fault)>) -> Result<()> {
        let now_ms = self.clock.now_ms();
        for (place, fault) in bad {
            let Some(file) = work.remove(&place) else { continue };
            let said = Error::bad_record(fault.error.clone());
            let is_new = self.parking.lot(&place.0).park(&file, fault, now_ms)?;
            if is_new && !self.is_once {
                warn_parked(&place.0, &said);
            }
        }
        Ok(())
    }

    /// Looks at the files of `work` again. Returns whether any is not as it was listed.
    async fn look_again(
        &mut self,
        work: &mut Work,
        named: Option<&Place>,
        blame: &mut Blame,
    ) -> Result<bool> {
        let mut looks = Vec::new();
        for source in &self.sources {
            for (place, file) in work.all().filter(|(place, _)| place.0 == source.table.name) {
                looks.push((place, file.clone(), source.store.clone()));
            }
        }
        // Where the storage does not answer for one file, it is not asked for all.
        let is_first = |place: &Place| named.is_none_or(|named| named == place);
        let first = looks.iter().find(|look| is_first(&look.0)).cloned();
        if let Some((place, file, store)) = first
            && matches!(look(place, file, store).await.1, Looked::Unknown)
        {
            return Ok(false);
        }
        let count = looks.len();
        let looks: Vec<_> =
            looks.into_iter().map(|(place, file, store)| look(place, file, store)).collect();
        let looked: Vec<(Place, Looked)> =
            stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
        let refused = looked.iter().filter(|(_, now)| matches!(now, Looked::Refused(_))).count();
        // Where nothing can be read the storage is closed to the job, and no file is to blame.
        let is_closed = refused == count && count > 1;
        let mut has_moved = false;
        let mut bad = Vec::new();
        for (place, now) in looked {
            match now {
                Looked::Same | Looked::Unknown => continue,
                Looked::Gone => self.leave_gone(work, &place),
                Looked::Refused(_) if is_closed => continue,
                Looked::Refused(error) => bad.push((place, Fault::of(&error.into()))),
                Looked::Changed(file) => {
                    let changes = blame.changes.entry(place.clone()).or_default();
                    *changes += 1;
                    match *changes > CHANGES_MAX {
                        true => bad.push((place, restless(&file))),
                        false => work.replace(&place, *file),
                    }
                }
            }
            has_moved = true;
        }
        self.park(work, bad)?;
        Ok(has_moved)
    }

    fn leave_gone(&mut self, work: &mut Work, place: &Place) {
        if let Some(file) = work.remove(place) {
            tracing::warn!(
                file = file.display,
                source = place.0,
                "a file is gone since it was listed; it is left out, and the rest goes on"
            );
            self.parking.lot(&place.0).gone(&file.key);
        }
    }

    /// What is parked at the end of a run, as its error.
    ///
    /// # Errors
    /// `BadRecord` that names the files.
    pub fn refuse_parked(&self) -> Result<()> {
        let parked: Vec<&str> = self.parking.all().map(|(_, file)| file.error.as_str()).collect();
        match parked.as_slice() {
            [] => Ok(()),
            [error] => Err(Error::bad_record(*error)),
            errors => {
                let shown = errors.iter().take(SHOWN_MAX).map(|error| format!("\n  {error}"));
                let more = match errors.len().saturating_sub(SHOWN_MAX) {
                    0 => String::new(),
                    more => format!("\n  and {more} more"),
                };
                Err(Error::bad_record(format!(
                    "{} files cannot be used and are left out; all others were processed:{}{more}",
                    errors.len(),
                    shown.collect::<String>()
                )))
            }
        }
    }
}

fn look(
    place: Place,
    file: Discovered,
    store: Arc<dyn ObjectStore>,
) -> BoxFuture<'static, (Place, Looked)> {
    async move { (place, look_again(&*store, &file).await) }.boxed()
}

/// An error names so many files, at most.
const SHOWN_MAX: usize = 20;

fn restless(file: &Discovered) -> Fault {
    Fault {
        error: format!(
            "{}: is changed again and again while it is read; write discovery.settle, so that it is \
             read when its writer is done, or appended: true for files that grow",
            file.display
        ),
        kind: ErrorKind::Unavailable.to_string(),
        may_pass: true,
    }
}
