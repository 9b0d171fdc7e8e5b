//! Reads the log back: the newest checkpoint, then the records after it, and nothing else.
//!
//! Records at or below a checkpoint are never believed. Collection empties their slots, and a
//! coordinator that slept through all of that can create one of them again; but by then a
//! checkpoint at or past that slot exists, and stays or gives way to a newer one. So: read the
//! newest checkpoint and the records after it until one is absent, then list again. If the newest
//! checkpoint is still the same, no slot after it was ever collected, and all that was read is
//! true.

use futures::{StreamExt, TryStreamExt, stream};

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::names::{self, CHECKPOINT, Epoch, LOG};
use crate::record::{CommitRecord, FORMAT_VERSION};
use crate::seen;
use crate::state::JobState;
use crate::storage::Storage;

/// How often the log may move on under a reader before it gives up.
const ROUNDS_MAX: u32 = 16;
const READS_IN_FLIGHT: usize = 16;

/// What of the state to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Everything, the set of processed files too: what a coordinator needs.
    All,
    /// Without the processed files.
    WithoutSeen,
}

/// The state as of the last committed epoch, and the newest checkpoint (0 when there is none).
pub(crate) async fn recover(storage: &Storage, load: Load) -> Result<(JobState, u64)> {
    for _ in 0..ROUNDS_MAX {
        let base = newest_checkpoint(storage).await?;
        let read = read_from(storage, base, load).await;
        // Only an unchanged list says that what was read, or found missing, means anything.
        if newest_checkpoint(storage).await? != base {
            continue;
        }
        return match read? {
            Some(state) => Ok((state, base.map_or(0, |epoch| epoch.0))),
            None => Err(Error::corrupt(format!(
                "{}: checkpoint {} or a segment that it names is gone; restore it or start anew \
                 with --reset-state",
                storage.location(),
                base.unwrap_or_default()
            ))),
        };
    }
    Err(moving(storage))
}

/// The state as of `epoch`, without the processed files.
pub(crate) async fn recover_at(storage: &Storage, epoch: Epoch) -> Result<JobState> {
    for _ in 0..ROUNDS_MAX {
        let checkpoints = list_checkpoints(storage).await?;
        let state = read_at(storage, epoch, &checkpoints).await;
        let newest = newest_checkpoint(storage).await?;
        if newest != checkpoints.last().copied() {
            continue;
        }
        return state?.ok_or_else(|| {
            Error::bad_job(format!(
                "{}: epoch {epoch} is not retained (or not committed yet)",
                storage.location()
            ))
        });
    }
    Err(moving(storage))
}

/// Reads one record; `None` when the slot is empty.
pub(crate) async fn read_record(storage: &Storage, epoch: Epoch) -> Result<Option<CommitRecord>> {
    let path = names::log_path(epoch);
    let Some(bytes) = storage.get(&path).await? else {
        return Ok(None);
    };
    let record: CommitRecord = serde_json::from_slice(&bytes).map_err(|e| {
        Error::corrupt(format!(
            "{}/{path} is not a commit record: {e}; restore it or start anew with --reset-state",
            storage.location()
        ))
        .with_source(e)
    })?;
    check_version(storage, &path, record.format_version)?;
    if record.epoch != epoch {
        return Err(Error::corrupt(format!(
            "{}/{path} holds epoch {}; was it moved by hand?",
            storage.location(),
            record.epoch
        )));
    }
    Ok(Some(record))
}

/// Refuses what a newer build wrote.
pub(crate) fn check_version(storage: &Storage, path: &str, version: u32) -> Result<()> {
    if version > FORMAT_VERSION {
        return Err(Error::bad_job(format!(
            "{}/{path} has form {version}, this build reads up to {FORMAT_VERSION}; use a newer \
             build",
            storage.location()
        )));
    }
    Ok(())
}

/// The epochs of all checkpoints, ascending.
pub(crate) async fn list_checkpoints(storage: &Storage) -> Result<Vec<Epoch>> {
    let found = storage.list(CHECKPOINT).await?;
    Ok(found.iter().filter_map(|meta| names::parse_numbered(meta.location.as_ref())).collect())
}

async fn newest_checkpoint(storage: &Storage) -> Result<Option<Epoch>> {
    Ok(list_checkpoints(storage).await?.last().copied())
}

/// The state at the checkpoint `base`, moved on by the records after it. `None`: something that
/// has to be there is not.
async fn read_from(storage: &Storage, base: Option<Epoch>, load: Load) -> Result<Option<JobState>> {
    let Some(mut state) = read_base(storage, base).await? else {
        return Ok(None);
    };
    if load == Load::All && !load_seen(storage, &mut state).await? {
        return Ok(None);
    }
    // Known names are fetched side by side; what comes after them one after another.
    let after = names::log_path(base.unwrap_or_default());
    let listed: Vec<Epoch> = storage
        .list_after(LOG, &after)
        .await?
        .iter()
        .filter_map(|meta| names::parse_numbered(meta.location.as_ref()))
        .collect();
    let last = listed.last().copied();
    let mut records =
        stream::iter(listed).map(|epoch| read_record(storage, epoch)).buffered(READS_IN_FLIGHT);
    while let Some(record) = records.next().await {
        match record? {
            Some(record) if follows(&state, &record) => state.apply(&record),
            Some(record) if record.epoch == state.next_epoch() => {
                return Err(broken(storage, &record));
            }
            _ => break,
        }
    }
    while let Some(record) = read_record(storage, state.next_epoch()).await? {
        if !follows(&state, &record) {
            return Err(broken(storage, &record));
        }
        state.apply(&record);
    }
    if last > state.epoch {
        return Err(Error::corrupt(format!(
            "{}/{} is gone, while later records are there; restore it or start anew with \
             --reset-state",
            storage.location(),
            names::log_path(state.next_epoch())
        )));
    }
    Ok(Some(state))
}

/// The state at `epoch` from the checkpoint at or before it. When there is a checkpoint after it
/// too, the records between must lead to that one: so none of them is an impostor.
async fn read_at(
    storage: &Storage,
    epoch: Epoch,
    checkpoints: &[Epoch],
) -> Result<Option<JobState>> {
    let base = checkpoints.iter().rev().find(|c| **c <= epoch).copied();
    let above = checkpoints.iter().find(|c| **c >= epoch).copied();
    let Some(state) = read_base(storage, base).await? else {
        return Ok(None);
    };
    let last = above.unwrap_or(epoch);
    let numbers = (state.next_epoch().0..=last.0).map(Epoch);
    let records: Vec<_> = stream::iter(numbers)
        .map(|epoch| read_record(storage, epoch))
        .buffered(READS_IN_FLIGHT)
        .try_collect()
        .await?;
    let (mut walker, mut wanted) = (state.clone(), state);
    for record in records {
        match record {
            Some(record) if follows(&walker, &record) => walker.apply(&record),
            _ => return Ok(None),
        }
        if walker.epoch == Some(epoch) {
            wanted = walker.clone();
        }
    }
    if let Some(above) = above {
        let checkpoint = checkpoint::read(storage, above).await?;
        if checkpoint.is_none_or(|checkpoint| checkpoint.writer != walker.writer) {
            return Ok(None);
        }
    }
    Ok((wanted.epoch == Some(epoch)).then_some(wanted))
}

async fn read_base(storage: &Storage, base: Option<Epoch>) -> Result<Option<JobState>> {
    match base {
        None => Ok(Some(JobState::default())),
        Some(epoch) => checkpoint::read(storage, epoch).await,
    }
}

/// Whether `record` is the one after `state`.
pub(crate) fn follows(state: &JobState, record: &CommitRecord) -> bool {
    record.epoch == state.next_epoch() && record.parent == state.writer
}

async fn load_seen(storage: &Storage, state: &mut JobState) -> Result<bool> {
    let paths: Vec<String> = state.seen.segments().iter().map(|s| s.path.clone()).collect();
    let mut segments = stream::iter(paths)
        .map(|path| async move { storage.get(&path).await.map(|bytes| (path, bytes)) })
        .buffered(READS_IN_FLIGHT);
    state.seen.load_pending();
    while let Some((path, bytes)) = segments.try_next().await? {
        let Some(bytes) = bytes else {
            return Ok(false);
        };
        state.seen.load(seen::decode(&path, &bytes)?);
    }
    Ok(true)
}

fn broken(storage: &Storage, record: &CommitRecord) -> Error {
    Error::corrupt(format!(
        "{}/{} does not follow the record before it; restore the log or start anew with \
         --reset-state",
        storage.location(),
        names::log_path(record.epoch)
    ))
}

fn moving(storage: &Storage) -> Error {
    Error::unavailable(format!(
        "{}: the log moved on {ROUNDS_MAX} times while it was read; run again",
        storage.location()
    ))
}
