//! A watch on the memory of the whole service. What reserves memory is refused at its bound; what
//! does not is noticed here, before the system notices and ends the process with all its jobs.
//!
//! ```text
//!  this process and its queries > the most altogether --> the largest query ends
//!                                       no query left --> the epoch of the largest job fails
//!  this process > what its jobs may, and HEADROOM     --> the epoch of the largest job fails
//! ```

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::flight::{QueryProcesses, resident_bytes};
use super::hosted::Hosted;
use super::jobs::JobPhase;
use super::registry::Registry;
use crate::error::{Error, Result};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the process itself needs beside its jobs.
const HEADROOM_BYTES: u64 = 200 << 20;
/// After an epoch was failed, memory has so much time to come back before the next one is.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// What is kept free of what the system allows, as one part of so many.
const SYSTEM_SHARE: u64 = 16;

/// What the service may hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryBound {
    /// The most for the process and its queries together; what the system allows a container,
    /// less a part, where nothing is said.
    pub bytes_max: Option<u64>,
}

impl MemoryBound {
    fn or_systems(self) -> Option<u64> {
        self.bytes_max.or_else(|| {
            let text = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?;
            let bytes: u64 = text.trim().parse().ok()?;
            Some(bytes - bytes / SYSTEM_SHARE)
        })
    }
}

/// Watches until `registry` is gone, in a thread of its own: it also looks when all others are
/// busy.
///
/// # Errors
/// When there is no thread for it.
pub fn watch_memory(
    registry: &Arc<Registry>,
    queries: QueryProcesses,
    bound: MemoryBound,
) -> Result<()> {
    let registry = Arc::downgrade(registry);
    let watching = std::thread::Builder::new()
        .name("memory-watch".to_owned())
        .spawn(move || watch(&registry, &queries, bound.or_systems()));
    watching.map(drop).map_err(|error| {
        Error::unavailable(format!("no thread to watch the memory: {error}")).with_source(error)
    })
}

fn watch(registry: &Weak<Registry>, queries: &QueryProcesses, bytes_max: Option<u64>) {
    let mut quiet_until = Instant::now();
    let mut pause = PAUSE_FIRST;
    while let Some(registry) = registry.upgrade() {
        let Some(own) = resident_bytes(None) else { return };
        let held = Held { own, queries: queries.bytes() };
        let jobs = registry.all();
        drop(registry);
        let of_jobs: u64 = jobs.iter().map(|job| job.memory_bytes_max()).sum();
        match held.remedy(of_jobs.saturating_add(HEADROOM_BYTES), bytes_max) {
            Remedy::None => {}
            Remedy::EndQuery => {
                if let Some(bytes) = queries.end_largest() {
                    tracing::warn!(bytes, ?held, "memory is short: the largest query was ended");
                }
            }
            Remedy::FailEpoch { most } if Instant::now() >= quiet_until => {
                if let Some(largest) = largest(&jobs) {
                    let why = too_much(largest, &held, most);
                    tracing::warn!(job = largest.name(), ?held, "memory is short: an epoch ends");
                    largest.cut_short(why);
                    quiet_until = Instant::now() + pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            Remedy::FailEpoch { .. } => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What is held, in bytes.
#[derive(Debug, Clone, Copy)]
struct Held {
    own: u64,
    queries: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    None,
    EndQuery,
    FailEpoch { most: u64 },
}

impl Held {
    /// What to do when the process may hold `own_max`, and with its queries `bytes_max`.
    fn remedy(&self, own_max: u64, bytes_max: Option<u64>) -> Remedy {
        if let Some(most) = bytes_max.filter(|most| self.own + self.queries > *most) {
            return match self.queries {
                0 => Remedy::FailEpoch { most },
                _ => Remedy::EndQuery,
            };
        }
        match self.own > own_max {
            true => Remedy::FailEpoch { most: own_max },
            false => Remedy::None,
        }
    }
}

/// The job whose plans hold most; of several that say nothing, the one that may hold most.
fn largest(jobs: &[Arc<Hosted>]) -> Option<&Hosted> {
    let running = jobs.iter().filter(|job| job.phase() == JobPhase::Running);
    running.max_by_key(|job| (job.memory_bytes(), job.memory_bytes_max())).map(Arc::as_ref)
}

fn too_much(job: &Hosted, held: &Held, most: u64) -> String {
    format!(
        "the epoch was ended because the process holds {} MiB, and the most is {} MiB; this job \
         held most, {} MiB by its own count; make epoch.bytes_max or epoch.close_max smaller, or \
         give the process more memory and raise memory_max",
        held.own >> 20,
        most >> 20,
        job.memory_bytes() >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_end_before_epochs_do() {
        let held = |own, queries| Held { own, queries };
        assert_eq!(held(5, 0).remedy(10, None), Remedy::None);
        assert_eq!(held(11, 0).remedy(10, None), Remedy::FailEpoch { most: 10 });
        assert_eq!(held(5, 50).remedy(10, None), Remedy::None);
        assert_eq!(held(5, 50).remedy(10, Some(40)), Remedy::EndQuery);
        assert_eq!(held(11, 50).remedy(10, Some(40)), Remedy::EndQuery);
        assert_eq!(held(50, 0).remedy(100, Some(40)), Remedy::FailEpoch { most: 40 });
    }

    #[test]
    fn this_process_is_measured() {
        let before = resident_bytes(None).unwrap();
        let filled = vec![1_u8; 192 << 20];
        let after = resident_bytes(None).unwrap();
        assert!(after > before + (96 << 20), "{before} {after} {}", filled.len());
    }
}
