//! Streams of rows into prepared files, each stream with a writer of its own.

use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tidegauge_commitlog::SinkFile;
use tokio::task::JoinSet;

use super::writer::{SinkTarget, SinkWriter};
use crate::error::{Error, Result, from_datafusion};

/// Writes all rows of `streams`, side by side, and gives the files by their final names.
///
/// # Errors
/// The first error of a stream or a file.
pub async fn write_streams(
    streams: Vec<SendableRecordBatchStream>,
    target: &SinkTarget,
) -> Result<Vec<SinkFile>> {
    let mut tasks = JoinSet::new();
    for mut rows in streams {
        let target = target.clone();
        tasks.spawn(async move {
            let mut writer = SinkWriter::new(target)?;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(from_datafusion)?;
                if batch.num_rows() > 0 {
                    writer.write(&batch).await?;
                }
            }
            writer.finish().await
        });
    }
    let mut files = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| Error::bug("a sink's task stopped").with_source(error))?;
        files.extend(done?);
    }
    files.sort_by(|a, b| a.published.cmp(&b.published));
    Ok(files)
}
