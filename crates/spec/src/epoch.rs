//! How much goes into an epoch, how often one runs, and how often a failed one is retried.

use std::time::Duration;

use serde::Serialize;

use crate::item::Item;
use crate::setting::{bytes, count, duration};

const KEYS: [&str; 5] = ["interval", "bytes_max", "files_max", "close_max", "retry"];
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The `epoch` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochSpec {
    /// The pace of continuous runs, from the beginning of one epoch to the next; 10 s.
    pub interval: Duration,
    /// The most bytes, as stored, in an epoch, though it takes at least one file; 512 MiB.
    pub bytes_max: u64,
    /// The most files in an epoch; 10,000.
    pub files_max: usize,
    /// About the most memory for the state of windows that close at once, though one window may take
    /// more; 64 MiB; YAML `close_max`. What is made of it may take several times as much.
    pub close_bytes_max: u64,
    /// How often a failed epoch is tried again before the run fails; 5.
    pub retry: u32,
}

impl Default for EpochSpec {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            bytes_max: 512 << 20,
            files_max: 10_000,
            close_bytes_max: 64 << 20,
            retry: 5,
        }
    }
}

/// Reads the section.
pub(crate) fn epoch(item: &Item<'_>) -> Option<EpochSpec> {
    let fields = item.section(&KEYS)?;
    let defaults = EpochSpec::default();
    let interval =
        fields.setting("interval", defaults.interval, |item| duration(item, INTERVAL_MIN));
    let bytes_max = fields.setting("bytes_max", defaults.bytes_max, |item| bytes(item, 1));
    let files_max =
        fields.setting("files_max", defaults.files_max, |item| count(item, 1..=1_000_000));
    let close_bytes_max =
        fields.setting("close_max", defaults.close_bytes_max, |item| bytes(item, 1));
    let retry = fields.setting("retry", defaults.retry, |item| count(item, 0..=100));
    Some(EpochSpec {
        interval: interval?,
        bytes_max: bytes_max?,
        files_max: files_max?,
        close_bytes_max: close_bytes_max?,
        retry: retry?,
    })
}
