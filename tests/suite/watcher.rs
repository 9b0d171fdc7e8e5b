//! A reader that merely lists the sinks' folders, at random moments while the job runs and dies,
//! and checks each time what it may see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::storm::{Outcome, SINKS, published};

/// A watcher at work.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// What listings have shown so far.
struct Seen {
    outcome: Outcome,
    /// Rows of each file listed so far.
    files: BTreeMap<String, u64>,
    /// The latest epoch of which a listing has shown a file.
    epoch_max: u64,
}

impl Watcher {
    /// Lists with pauses of up to `pause_ms_max`.
    pub(super) fn start(outcome: Outcome, seed: u64, pause_ms_max: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut seen = Seen { outcome, files: BTreeMap::new(), epoch_max: 0 };
            let mut listings = 0;
            while !stopped.load(Ordering::Acquire) {
                runtime.block_on(seen.look());
                listings += 1;
                std::thread::sleep(Duration::from_millis(rng.random_range(0..=pause_ms_max)));
            }
            listings
        });
        Self { stop, thread }
    }

    /// Ends it, and gives the number of listings.
    pub(super) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

impl Seen {
    /// One listing. Every file in it is whole and named by a record, none that was there before
    /// is gone, and once a file of an epoch was seen, all of earlier epochs are there.
    async fn look(&mut self) {
        let mut listed = BTreeSet::new();
        for sink in SINKS {
            listed.extend(self.outcome.list(sink).await);
        }
        for path in self.files.keys() {
            assert!(listed.contains(path), "{path} was published and is gone");
        }
        for path in &listed {
            if !self.files.contains_key(path) {
                let rows = self.outcome.read(path).await.len() as u64;
                self.files.insert(path.clone(), rows);
            }
        }
        let committed = self.outcome.committed().await;
        let by_name: BTreeMap<String, _> =
            committed.iter().map(|entry| (published(&entry.1), entry)).collect();
        assert_eq!(by_name.len(), committed.len(), "a name was committed twice");
        let shown_before = self.epoch_max;
        for path in &listed {
            let Some((epoch, file)) = by_name.get(path) else {
                panic!("{path} is listed and in no record");
            };
            assert_eq!(self.files[path], file.rows, "{path}");
            self.epoch_max = self.epoch_max.max(epoch.0);
        }
        for (path, (epoch, _)) in &by_name {
            let is_due = epoch.0 < shown_before;
            assert!(!is_due || listed.contains(path), "{path} is passed over by {shown_before}");
        }
    }
}
