//! Checkpoints: the log folded into one object, so that the records before can be collected.
//!
//! A checkpoint follows from the records alone. Whoever writes it, however late, writes the same;
//! a checkpoint that lands when newer ones exist is never read.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::{self, Epoch};
use crate::record::FORMAT_VERSION;
use crate::recover::check_version;
use crate::state::JobState;
use crate::storage::Storage;

#[derive(Serialize)]
struct Written<'a> {
    format_version: u32,
    state: &'a JobState,
}

#[derive(Deserialize)]
struct Read {
    format_version: u32,
    state: JobState,
}

/// The checkpoint's content.
pub(crate) fn encode(state: &mut JobState) -> Result<Bytes> {
    // Whether the last epoch is published is not in the records.
    let known = state.published_through;
    state.published_through = state.head().saturating_sub(1);
    let bytes = serde_json::to_vec(&Written { format_version: FORMAT_VERSION, state });
    state.published_through = known;
    bytes
        .map(Bytes::from)
        .map_err(|e| Error::bug("cannot write a checkpoint as JSON").with_source(e))
}

/// Reads the checkpoint at `epoch`, without the segments that it names.
pub(crate) async fn read(storage: &Storage, epoch: Epoch) -> Result<Option<JobState>> {
    let path = names::checkpoint_path(epoch);
    let Some(bytes) = storage.get(&path).await? else {
        return Ok(None);
    };
    let read: Read = serde_json::from_slice(&bytes).map_err(|e| {
        Error::corrupt(format!(
            "{}/{path} is not a checkpoint: {e}; restore it or start anew with --reset-state",
            storage.location()
        ))
        .with_source(e)
    })?;
    check_version(storage, &path, read.format_version)?;
    Ok(Some(read.state))
}
