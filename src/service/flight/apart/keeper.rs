//! Looks at the processes of queries, and ends those that hold too much memory or are past their
//! deadline. It is a thread of its own: it looks also when all others are busy.

use std::collections::HashMap;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::error::QueryError;

/// How long a process may go unwatched: at a gigabyte a second, which is what touching memory
/// takes, this is what it may hold beyond its bound.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_EVERY_IDLE: Duration = Duration::from_millis(50);
/// After its deadline a query's client is answered; its process may take so much longer to notice.
const DEADLINE_SLACK: Duration = Duration::from_millis(300);
/// Linux counts memory in pages of this size on all machines that we run on.
const PAGE_BYTES: u64 = 4_096;

/// The processes of all queries, for whoever watches over the memory of the whole service. Clones
/// are the same.
#[derive(Debug, Clone, Default)]
pub struct QueryProcesses {
    watched: Arc<Mutex<HashMap<u64, Entry>>>,
}

impl QueryProcesses {
    /// What all of them hold, in bytes.
    pub fn bytes(&self) -> u64 {
        self.watched.lock().values().filter_map(Entry::bytes).sum()
    }

    /// Ends the one that holds most; how many bytes that were.
    pub fn end_largest(&self) -> Option<u64> {
        let mut watched = self.watched.lock();
        let entries = watched.values_mut().filter(|entry| entry.deadline.is_some());
        let sized = entries.filter_map(|entry| Some((entry.bytes()?, entry)));
        let (bytes, largest) = sized.max_by_key(|(bytes, _)| *bytes)?;
        largest.end(Verdict::Crowded(bytes));
        Some(bytes)
    }
}

/// Watches over the processes.
#[derive(Debug)]
pub(super) struct Keeper {
    watched: Arc<Mutex<HashMap<u64, Entry>>>,
    next: AtomicU64,
    bytes_max: u64,
}

#[derive(Debug)]
struct Entry {
    process: Child,
    bytes_max: u64,
    deadline: Option<Instant>,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

/// Why a process is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It held so many bytes.
    Memory(u64),
    /// It held so many bytes, more than any other, when the service as a whole held too much.
    Crowded(u64),
    /// It went on after its time.
    Deadline,
    /// By itself, in the way that it says.
    Ended(String),
}

/// A process; it ends with this.
#[derive(Debug)]
pub(super) struct Watched {
    id: u64,
    pid: u32,
    watched: Arc<Mutex<HashMap<u64, Entry>>>,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

impl Keeper {
    /// Ends processes that hold more than `bytes_max` beyond what they are mapped from files.
    pub(super) fn new(processes: &QueryProcesses, bytes_max: u64) -> Result<Self, QueryError> {
        let watched = Arc::clone(&processes.watched);
        let weak = Arc::downgrade(&watched);
        std::thread::Builder::new()
            .name("query-keeper".to_owned())
            .spawn(move || watch(&weak))
            .map_err(|error| {
                QueryError::internal(format!("the processes of queries cannot be watched: {error}"))
            })?;
        Ok(Self { watched, next: AtomicU64::new(0), bytes_max })
    }

    /// Watches a process from now on.
    pub(super) fn watch(&self, process: Child) -> Watched {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (pid, verdict) = (process.id(), Arc::default());
        let entry = Entry {
            process,
            bytes_max: self.bytes_max,
            deadline: None,
            verdict: Arc::clone(&verdict),
        };
        self.watched.lock().insert(id, entry);
        Watched { id, pid, watched: Arc::clone(&self.watched), verdict }
    }
}

impl Watched {
    /// Lets it work until `deadline`, or for as long as nobody asks it where there is none.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        if let Some(entry) = self.watched.lock().get_mut(&self.id) {
            entry.deadline = deadline;
        }
    }

    /// What it holds now.
    pub(super) fn bytes(&self) -> Option<u64> {
        resident_bytes(Some(self.pid))
    }

    /// Why it ended, if it did and the keeper has seen it.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The keeper waits for it, so that nothing is left of it.
        if let Some(entry) = self.watched.lock().get_mut(&self.id) {
            entry.end(Verdict::Ended("it was not needed any more".to_owned()));
        }
    }
}

impl Entry {
    fn bytes(&self) -> Option<u64> {
        resident_bytes(Some(self.process.id()))
    }

    fn end(&mut self, why: Verdict) {
        self.verdict.lock().get_or_insert(why);
        // It may have ended by itself.
        if let Err(error) = self.process.kill() {
            tracing::debug!(%error, "a query's process was gone already");
        }
    }

    /// Looks at it once; whether it is over.
    fn look(&mut self, now: Instant) -> bool {
        match self.process.try_wait() {
            Ok(Some(status)) => {
                self.verdict.lock().get_or_insert(Verdict::Ended(status.to_string()));
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                self.verdict.lock().get_or_insert(Verdict::Ended(error.to_string()));
                return true;
            }
        }
        if self.deadline.is_some_and(|deadline| now > deadline + DEADLINE_SLACK) {
            self.end(Verdict::Deadline);
        } else if let Some(bytes) = self.bytes()
            && bytes > self.bytes_max
        {
            self.end(Verdict::Memory(bytes));
        }
        false
    }
}

fn watch(watched: &Weak<Mutex<HashMap<u64, Entry>>>) {
    loop {
        let Some(watched) = watched.upgrade() else { return };
        let now = Instant::now();
        let is_idle = {
            let mut entries = watched.lock();
            entries.retain(|_, entry| !entry.look(now));
            entries.values().all(|entry| entry.deadline.is_none())
        };
        drop(watched);
        std::thread::sleep(if is_idle { LOOK_EVERY_IDLE } else { LOOK_EVERY });
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for entry in self.watched.lock().values_mut() {
            entry.end(Verdict::Ended("the service ends".to_owned()));
            // It was killed, so this takes no time.
            if let Err(error) = entry.process.wait() {
                tracing::debug!(%error, "a query's process cannot be waited for");
            }
        }
    }
}

/// The memory that a process holds beyond what is mapped from files, in bytes; of this process
/// where none is named. `None` where the system does not tell.
pub fn resident_bytes(pid: Option<u32>) -> Option<u64> {
    let path = match pid {
        Some(pid) => format!("/proc/{pid}/statm"),
        None => "/proc/self/statm".to_owned(),
    };
    let text = std::fs::read_to_string(path).ok()?;
    let mut pages = text.split_whitespace().map(str::parse::<u64>);
    let (resident, shared) = (pages.nth(1)?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * PAGE_BYTES)
}
