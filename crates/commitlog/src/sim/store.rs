//! One client's view of the simulated store, as object_store's trait has it.
//!
//! Before and after every call the client may wait, pause for very long, or crash.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use rand::Rng;
use tokio::sync::Notify;

use super::world::{Effect, Fate, Object, Refusal, World};

#[derive(Debug, Clone)]
pub(super) struct SimStore {
    pub(super) world: Arc<World>,
    pub(super) who: String,
    /// Counts down to the crash of this client; below zero it never crashes.
    pub(super) calls_left: Arc<AtomicI64>,
    pub(super) crashed: Arc<Notify>,
}

impl SimStore {
    pub(super) fn new(world: &Arc<World>, who: impl Into<String>, calls_left: i64) -> SimStore {
        SimStore {
            world: Arc::clone(world),
            who: who.into(),
            calls_left: Arc::new(AtomicI64::new(calls_left)),
            crashed: Arc::new(Notify::new()),
        }
    }

    /// The way there, or back.
    async fn travel(&self) {
        let wait_ms = self.world.with(|inner, now_ms| {
            if inner.is_calm {
                return 1;
            }
            let pause = inner.weather.pause;
            if inner.rng.random_bool(pause) {
                inner.note(now_ms, &self.who, "pause", "");
                let max = inner.weather.pause_ms_max;
                return inner.rng.random_range(1..max);
            }
            inner.rng.random_range(1..10)
        });
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn change(&self, effect: Effect) -> Result<()> {
        self.travel().await;
        let answer = self.world.with(|inner, now_ms| {
            let path = path_of(&effect).to_owned();
            match inner.fate(&effect) {
                Fate::Works => match inner.apply(now_ms, &self.who, effect) {
                    Ok(()) => Ok(()),
                    Err(Refusal::Exists) => Err(exists(&path)),
                    Err(Refusal::Absent) => Err(absent(&path)),
                },
                Fate::FailsBefore => {
                    inner.note(now_ms, &self.who, "fails before", &path);
                    Err(timeout())
                }
                Fate::FailsAfter => {
                    inner.note(now_ms, &self.who, "fails after", &path);
                    inner.apply(now_ms, &self.who, effect).ok();
                    Err(timeout())
                }
                Fate::AnswersExists => {
                    // Half of the time as S3's 409, which says so of an empty slot too.
                    if inner.rng.random_bool(0.5) {
                        inner.apply(now_ms, &self.who, effect).ok();
                    }
                    inner.note(now_ms, &self.who, "answers exists", &path);
                    Err(exists(&path))
                }
                Fate::LandsLater(wait_ms) => {
                    inner.note(now_ms, &self.who, "postponed", &path);
                    inner.postpone(now_ms + wait_ms as i64, &self.who, effect);
                    Err(timeout())
                }
            }
        });
        self.travel().await;
        answer
    }

    async fn read<T>(
        &self,
        act: impl FnOnce(&std::collections::BTreeMap<String, Object>) -> T,
    ) -> Result<T> {
        self.travel().await;
        let found = self.world.with(|inner, _| {
            if inner.fails_to_read() { Err(timeout()) } else { Ok(act(&inner.objects)) }
        });
        self.travel().await;
        found
    }
}

fn path_of(effect: &Effect) -> &str {
    match effect {
        Effect::Put { path, .. } | Effect::Create { path, .. } | Effect::Delete { path } => path,
        Effect::Copy { to, .. } => to,
    }
}

fn timeout() -> Error {
    Error::Generic { store: "sim", source: "timed out".into() }
}

fn exists(path: &str) -> Error {
    Error::AlreadyExists { path: path.into(), source: "exists".into() }
}

fn absent(path: &str) -> Error {
    Error::NotFound { path: path.into(), source: "absent".into() }
}

fn not_simulated(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "sim".into() }
}

fn meta(path: &Path, object: &Object) -> ObjectMeta {
    ObjectMeta {
        location: path.clone(),
        last_modified: DateTime::from_timestamp_millis(object.modified_ms).unwrap_or_default(),
        size: object.bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim")
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let (path, bytes) = (at.to_string(), Bytes::from(payload));
        let effect = match opts.mode {
            PutMode::Overwrite => Effect::Put { path, bytes },
            PutMode::Create => Effect::Create { path, bytes },
            PutMode::Update(_) => return Err(not_simulated("update")),
        };
        self.change(effect).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_simulated("multipart"))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let object = self.read(|objects| objects.get(at.as_ref()).cloned()).await?;
        let object = object.ok_or_else(|| absent(at.as_ref()))?;
        let meta = meta(at, &object);
        options.check_preconditions(&meta)?;
        let bytes = object.bytes;
        Ok(GetResult {
            range: 0..meta.size,
            meta,
            payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
            attributes: Attributes::default(),
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths
            .map(move |path| {
                let store = store.clone();
                async move {
                    let location = path?;
                    let path = location.to_string();
                    store.change(Effect::Delete { path }).await?;
                    Ok(location)
                }
            })
            .buffered(3)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let folder = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let listing = async move {
            let found = store
                .read(|objects| {
                    objects
                        .range(folder.clone()..)
                        .take_while(|(path, _)| path.starts_with(&folder))
                        .map(|(path, object)| Ok(meta(&Path::parse(path)?, object)))
                        .collect::<Vec<_>>()
                })
                .await?;
            Ok::<_, Error>(stream::iter(found))
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_simulated("listing folders"))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Overwrite {
            return Err(not_simulated("create-only copy"));
        }
        let (from, to) = (from.to_string(), to.to_string());
        self.change(Effect::Copy { from, to }).await
    }
}
