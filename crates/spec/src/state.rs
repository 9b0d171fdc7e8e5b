//! Where the state is, and what of it is kept.

use std::time::Duration;

use serde::Serialize;

use crate::item::Item;
use crate::location::{Purpose, location};
use crate::setting::{bytes, count, duration};

const KEYS: [&str; 7] = [
    "location",
    "checkpoint_every",
    "retain_epochs",
    "grace",
    "takeover_after",
    "runs_max",
    "cache_max",
];
const CHECKPOINT_EVERY: u64 = 20;
const RETAIN_EPOCHS: u64 = 100;
const GRACE: Duration = Duration::from_secs(3600);
const GRACE_MIN: Duration = Duration::from_millis(1);
const TAKEOVER_MIN: Duration = Duration::from_millis(100);
const RUNS_MAX: usize = 16;
const CACHE_BYTES_MAX: u64 = 256 << 20;

/// The `state` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateSpec {
    /// The folder of all state: a path relative to the working directory, `file://` or
    /// `s3://bucket/prefix/`.
    pub location: String,
    /// Epochs from one checkpoint of the log to the next; 20.
    pub checkpoint_every: u64,
    /// Epochs to which the job can be rewound; 100.
    pub retain_epochs: u64,
    /// How long what no retained epoch names is kept before it is collected; 1 hour.
    pub grace: Duration,
    /// How long the log must have stood still before a service that stands by takes the job over;
    /// by default as long as several of the job's epochs take, and at least 1 minute.
    pub takeover_after: Option<Duration>,
    /// The most runs of a stage before they are merged; 16.
    pub runs_max: usize,
    /// The most memory for the runs of recent epochs; 256 MiB; YAML `cache_max`.
    pub cache_max_bytes: u64,
}

/// Reads the section.
pub(crate) fn state(item: &Item<'_>) -> Option<StateSpec> {
    let fields = item.fields(&KEYS)?;
    let location = fields
        .required("location", "where the state is kept, such as location: ./out/_state/")
        .and_then(|item| location(&item, Purpose::Write));
    let checkpoint_every =
        fields.setting("checkpoint_every", CHECKPOINT_EVERY, |item| count(item, 1..=1_000_000));
    let retain_epochs =
        fields.setting("retain_epochs", RETAIN_EPOCHS, |item| count(item, 1..=1_000_000));
    let grace = fields.setting("grace", GRACE, |item| duration(item, GRACE_MIN));
    let takeover_after =
        fields.setting("takeover_after", None, |item| duration(item, TAKEOVER_MIN).map(Some));
    let runs_max = fields.setting("runs_max", RUNS_MAX, |item| count(item, 2..=10_000));
    let cache_max_bytes = fields.setting("cache_max", CACHE_BYTES_MAX, |item| bytes(item, 0));
    Some(StateSpec {
        location: location?,
        checkpoint_every: checkpoint_every?,
        retain_epochs: retain_epochs?,
        grace: grace?,
        takeover_after: takeover_after?,
        runs_max: runs_max?,
        cache_max_bytes: cache_max_bytes?,
    })
}
