//! Helpers of the functions' tests: a session with everything registered, and answers as vectors.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::prelude::{SessionConfig, SessionContext};

/// A session with this crate's functions and one target partition.
pub(crate) fn context() -> SessionContext {
    context_of(1)
}

/// A session with `partitions` target partitions and batches of 3 rows, so that Partial and
/// Final aggregates meet many small states.
pub(crate) fn context_of(partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(3);
    let context = SessionContext::new_with_config(config);
    crate::register_all(&context);
    context
}

/// The last column of the answer, which must be doubles.
pub(crate) async fn doubles_of(context: &SessionContext, sql: &str) -> Vec<Option<f64>> {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column(batch.num_columns() - 1);
            column.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()
        })
        .collect()
}

/// The text of the error that planning or running `sql` gives.
pub(crate) async fn error_of(context: &SessionContext, sql: &str) -> String {
    match context.sql(sql).await {
        Err(error) => error.to_string(),
        Ok(frame) => frame.collect().await.unwrap_err().to_string(),
    }
}
