//! Ranges of one object for the Parquet reader, and only of the version listed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectStore, coalesce_ranges};

use crate::source::fetch::fetch_range;
use crate::source::reader::InputFile;

/// The footer is looked for in this much of the end of the file, so that one request finds it.
const FOOTER_BYTES: usize = 64 * 1024;
/// Ranges no further apart than this are fetched as one.
const GAP_BYTES_MAX: u64 = 1 << 20;

/// One object. Parquet's own reader of object stores would take any version of it.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    file: InputFile,
}

impl ObjectReader {
    /// A reader of `file`, which must have the size and the version that it states.
    pub fn new(store: Arc<dyn ObjectStore>, file: InputFile) -> Self {
        Self { store, file }
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        fetch_range(&*self.store, &self.file, range).await.map_err(external)
    }
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.fetch(range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let this: &Self = self;
        async move { coalesce_ranges(&ranges, |range| this.fetch(range), GAP_BYTES_MAX).await }
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.file.size;
        async move {
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
