//! Where sinks and logs are, opened once and shared by all queries.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Result as PlanResult;
use datafusion::datasource::object_store::ObjectStoreUrl;
use parking_lot::Mutex;
use tidegauge_commitlog::{LogReader, SegmentCache, Storage};
use tidegauge_spec::JobSpec;

use super::presence::Presence;
use crate::error::Result;

/// More places than this are not kept open.
const OPEN_MAX: usize = 1_024;

/// Storages that are open, and what was decoded of manifests.
#[derive(Debug, Default)]
pub(super) struct Stores {
    open: Mutex<HashMap<String, Storage>>,
    segments: Arc<SegmentCache>,
    /// Which files of sinks are there.
    pub(super) presence: Presence,
}

impl Stores {
    /// The storage at a location as job files write it.
    pub(super) fn open(&self, location: &str) -> Result<Storage> {
        if let Some(storage) = self.open.lock().get(location) {
            return Ok(storage.clone());
        }
        let storage = Storage::open(location)?;
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(location.to_owned(), storage.clone());
        Ok(storage)
    }

    /// A reader of a job's log.
    pub(super) fn reader(&self, job: &JobSpec) -> Result<LogReader> {
        let state = self.open(&job.state.location)?.child(&job.name);
        Ok(LogReader::new(state).with_cache(Arc::clone(&self.segments)))
    }
}

/// The address under which DataFusion finds a storage's store.
pub(super) fn store_url(storage: &Storage) -> PlanResult<ObjectStoreUrl> {
    match storage.location().split_once("://") {
        Some((scheme, rest)) => {
            let bucket = rest.split('/').next().unwrap_or(rest);
            ObjectStoreUrl::parse(format!("{scheme}://{bucket}"))
        }
        None => ObjectStoreUrl::parse("file://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_an_address_and_all_local_folders_share_one() {
        for (location, address) in [
            ("s3://bucket/prefix/", "s3://bucket/"),
            ("s3://other", "s3://other/"),
            ("./out/findings/", "file:///"),
            ("file:///data/out", "file:///"),
        ] {
            let storage = Storage::open(location).unwrap();
            assert_eq!(store_url(&storage).unwrap().as_str(), address, "{location}");
        }
    }
}
