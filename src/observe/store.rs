//! A store that counts its requests and passes everything through.
//!
//! It sees what the engine asks of the store, not what the store's client makes of it: pages of a
//! listing, repeated requests and bulk deletes are the client's. A local folder's commit records,
//! syncs and renames of its own go past any store and are not seen.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::store_counts::{Listing, StoreCounts, outcome};

/// See the module.
#[derive(Debug)]
pub(super) struct CountedStore {
    inner: Arc<dyn ObjectStore>,
    counts: StoreCounts,
}

impl CountedStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, counts: StoreCounts) -> Self {
        Self { inner, counts }
    }

    fn listed(
        &self,
        items: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let mut listing = Listing::new(self.counts.clone());
        items.inspect(move |item| listing.saw(item)).boxed()
    }

    /// Counts the bytes of a body: as they come, or all of them where the body is a local file.
    fn counted_body(&self, mut got: GetResult) -> GetResult {
        match got.payload {
            GetResultPayload::Stream(body) => {
                let counts = self.counts.clone();
                let counted = body.inspect(move |chunk| {
                    if let Ok(bytes) = chunk {
                        counts.read(bytes.len() as u64);
                    }
                });
                got.payload = GetResultPayload::Stream(counted.boxed());
            }
            GetResultPayload::File(..) => {
                self.counts.read(got.range.end.saturating_sub(got.range.start));
            }
        }
        got
    }
}

impl fmt::Display for CountedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for CountedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.inner.put_opts(location, payload, opts).await;
        self.counts.request("put", &put);
        if put.is_ok() {
            self.counts.written(bytes);
        }
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, opts).await;
        self.counts.request("upload_begin", &begun);
        let counts = self.counts.clone();
        Ok(Box::new(CountedUpload { inner: begun?, counts }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let got = self.inner.get_opts(location, options).await;
        self.counts.request(if is_head { "head" } else { "get" }, &got);
        let got = got?;
        Ok(if is_head { got } else { self.counted_body(got) })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.inner.get_ranges(location, ranges).await;
        self.counts.requests("get", outcome(&got), requests_of(ranges));
        if let Ok(parts) = &got {
            self.counts.read(parts.iter().map(|part| part.len() as u64).sum());
        }
        got
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let counts = self.counts.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted.inspect(move |answer| counts.request("delete", answer)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await;
        self.counts.request("list", &listed);
        listed
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.inner.copy_opts(from, to, options).await;
        self.counts.request("copy", &copied);
        copied
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.inner.rename_opts(from, to, options).await;
        self.counts.request("rename", &renamed);
        renamed
    }
}

/// An upload in parts, each of which is a request.
#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    counts: StoreCounts,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = data.content_length() as u64;
        let counts = self.counts.clone();
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let put = part.await;
            counts.request("upload_part", &put);
            if put.is_ok() {
                counts.written(bytes);
            }
            put
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.inner.complete().await;
        self.counts.request("upload_complete", &completed);
        completed
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.inner.abort().await;
        self.counts.request("upload_abort", &aborted);
        aborted
    }
}

/// How many requests a remote store makes of `ranges`: it reads across small gaps.
fn requests_of(ranges: &[Range<u64>]) -> u64 {
    let mut ranges: Vec<&Range<u64>> = ranges.iter().collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut requests = 0;
    let mut reached: Option<u64> = None;
    for range in ranges {
        let joins = reached
            .is_some_and(|end| range.start <= end.saturating_add(OBJECT_STORE_COALESCE_DEFAULT));
        requests += u64::from(!joins);
        reached = Some(reached.filter(|_| joins).unwrap_or_default().max(range.end));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_across_a_small_gap_are_one_request() {
        let gap = OBJECT_STORE_COALESCE_DEFAULT;
        assert_eq!(requests_of(&[]), 0);
        assert_eq!(requests_of(&[0..10, 10..20]), 1);
        assert_eq!(requests_of(&[10 + gap..20 + gap, 0..10]), 1);
        assert_eq!(requests_of(&[11 + gap..20 + gap, 0..10]), 2);
        assert_eq!(requests_of(&[0..5 * gap, 1..2, 5 * gap + 1..5 * gap + 2]), 1);
    }
}
