//! The store that a source's files are in.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tidegauge_commitlog::Storage;

use super::location::Scheme;
use crate::error::Result;

/// Opens the store; paths in it are absolute.
///
/// # Errors
/// When S3 cannot be set up from the environment.
pub fn open_store(scheme: &Scheme) -> Result<Arc<dyn ObjectStore>> {
    Ok(match scheme {
        Scheme::Local => Arc::new(LocalFileSystem::new()),
        Scheme::S3 { bucket } => Arc::clone(Storage::open(&format!("s3://{bucket}"))?.store()),
    })
}
