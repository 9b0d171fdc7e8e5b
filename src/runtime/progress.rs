//! What a run has done so far, for whoever shows it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counters of a run, shared with its display.
#[derive(Debug)]
pub struct Progress {
    files: AtomicU64,
    rows: AtomicU64,
    epochs: AtomicU64,
    event_time_us: AtomicI64,
    watermark_us: AtomicI64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            files: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            epochs: AtomicU64::new(0),
            event_time_us: AtomicI64::new(i64::MIN),
            watermark_us: AtomicI64::new(i64::MIN),
        }
    }
}

impl Progress {
    /// Files read, those of an epoch that failed among them.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Rows decoded.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Epochs committed.
    pub fn epochs(&self) -> u64 {
        self.epochs.load(Ordering::Relaxed)
    }

    /// The latest event time seen, microseconds since 1970.
    pub fn event_time_us(&self) -> Option<i64> {
        known(&self.event_time_us)
    }

    /// The least watermark of the job's sources, microseconds since 1970.
    pub fn watermark_us(&self) -> Option<i64> {
        known(&self.watermark_us)
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_rows(&self, rows: u64, event_time_us: Option<i64>) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if let Some(us) = event_time_us {
            self.event_time_us.fetch_max(us, Ordering::Relaxed);
        }
    }

    pub(super) fn add_epoch(&self, watermark_us: Option<i64>) {
        self.epochs.fetch_add(1, Ordering::Relaxed);
        if let Some(us) = watermark_us {
            self.watermark_us.store(us, Ordering::Relaxed);
        }
    }
}

fn known(value: &AtomicI64) -> Option<i64> {
    match value.load(Ordering::Relaxed) {
        i64::MIN => None,
        us => Some(us),
    }
}
