//! The store that a source's files are in.

use std::sync::Arc;

use object_store::ObjectStore;
use tidegauge_commitlog::open_bucket;

use super::local_files::LocalFiles;
use super::location::Scheme;
use super::s3_files::S3Files;
use crate::error::Result;

/// Opens the store; paths in it are absolute.
///
/// # Errors
/// When S3 cannot be set up from the environment.
pub fn open_store(scheme: &Scheme) -> Result<Arc<dyn ObjectStore>> {
    Ok(match scheme {
        Scheme::Local => Arc::new(LocalFiles::default()),
        Scheme::S3 { bucket } => Arc::new(S3Files::new(open_bucket(bucket)?)?),
    })
}
