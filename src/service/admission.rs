//! What a submitted job may be: how large, and where it may read and write. Who submits a job need
//! not be who may use all that the service can reach.
//!
//! ```text
//!  ceilings     memory_max, partitions, epoch.interval, state.cache_max: problems of the job
//!  locations    each below one of the token's (access/caller.rs):        refused
//!  own places   state, submissions, token files, other jobs' sinks:      refused, for everybody
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegauge_spec::{BadJob, JobSpec, Prefix, Problem, format_duration};

use super::hosted::Hosted;
use crate::access::{Caller, resolved};

/// The rules for submitted jobs.
#[derive(Debug, Clone)]
pub struct SubmitRules {
    /// They may use the disk of this machine.
    pub allows_local: bool,
    /// How large one may be.
    pub ceilings: Ceilings,
    /// Locations of the service itself, such as where submitted jobs are kept and its token file,
    /// each with what it is.
    pub own: Vec<(String, String)>,
}

/// How large a submitted job may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    /// The most for `memory_max`.
    pub memory_bytes_max: u64,
    /// The most for `partitions`.
    pub partitions_max: usize,
    /// The least for `epoch.interval`.
    pub interval_min: Duration,
    /// The most for `state.cache_max`.
    pub cache_bytes_max: u64,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 4 << 30,
            partitions_max: 64,
            interval_min: Duration::from_millis(50),
            cache_bytes_max: 1 << 30,
        }
    }
}

impl SubmitRules {
    /// The job within its ceilings.
    ///
    /// # Errors
    /// Each setting that is beyond one, by its place in the job file, and each location on this
    /// machine where those may not be used.
    pub(super) fn bounded(&self, mut spec: JobSpec) -> Result<JobSpec, BadJob> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: String| {
            let (file, path) = (spec.path.clone(), path.to_owned());
            problems.push(Problem { file, line: None, path, message });
        };
        if !self.allows_local {
            for (path, location) in spec.local_locations() {
                problem(
                    &path,
                    format!(
                        "{location:?} is on the disk of the service, which submitted jobs may not \
                         use there; write s3://bucket/prefix/, or start the service with \
                         --submit-local"
                    ),
                );
            }
        }
        let most = &self.ceilings;
        let too_much = |what: String, flag: &str| {
            format!("{what} for a submitted job; write less, or start the service with {flag}")
        };
        if spec.memory_max_bytes > most.memory_bytes_max {
            let what = format!(
                "{} bytes are more than the {} that are the most",
                spec.memory_max_bytes, most.memory_bytes_max
            );
            problem("memory_max", too_much(what, "--submit-memory-max"));
        }
        if spec.state.cache_max_bytes > most.cache_bytes_max {
            let what = format!(
                "{} bytes are more than the {} that are the most",
                spec.state.cache_max_bytes, most.cache_bytes_max
            );
            problem("state.cache_max", too_much(what, "--submit-cache-max"));
        }
        if spec.partitions.is_some_and(|partitions| partitions > most.partitions_max) {
            let what =
                format!("more than the {} partitions that are the most", most.partitions_max);
            problem("partitions", too_much(what, "--submit-partitions-max"));
        }
        if spec.epoch.interval < most.interval_min {
            let message = format!(
                "{} is shorter than {}, the shortest for a submitted job; write more, or start the \
                 service with --submit-interval-min",
                format_duration(spec.epoch.interval),
                format_duration(most.interval_min)
            );
            problem("epoch.interval", message);
        }
        if !problems.is_empty() {
            return Err(BadJob { problems });
        }
        if spec.partitions.is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            spec.partitions = Some(cores.min(most.partitions_max));
        }
        Ok(spec)
    }

    /// Whether `caller` may have `spec` run beside the jobs of `others`.
    ///
    /// # Errors
    /// The first location that it may not use, and why.
    pub(super) fn check_places(
        &self,
        spec: &JobSpec,
        caller: &Caller,
        others: &[&Hosted],
    ) -> Result<(), String> {
        caller.check_locations(spec)?;
        let taken = self.taken(spec, caller, others);
        for used in spec.locations() {
            let real = resolved(&used.location);
            let leads = std::iter::once(real.clone()).chain(match used.is_read {
                true => links_below(&real),
                false => vec![],
            });
            for (location, place) in leads.flat_map(|at| taken.iter().map(move |t| (at.clone(), t)))
            {
                let is_met = match used.is_read {
                    true => place.is_kept_unread && place.prefix.is_read_by(&location),
                    false => place.prefix.is_written_by(&location),
                };
                if is_met {
                    return Err(format!(
                        "{}: {:?} leads to {}, which a submitted job may not {}; write another \
                         location",
                        used.path,
                        used.location,
                        place.what,
                        if used.is_read { "read" } else { "write to" }
                    ));
                }
            }
        }
        Ok(())
    }

    fn taken(&self, spec: &JobSpec, caller: &Caller, others: &[&Hosted]) -> Vec<Taken> {
        let place = |what: String, location: &str, is_kept_unread: bool| {
            let prefix = Prefix::parse(&resolved(location)).ok()?;
            Some(Taken { what, prefix, is_kept_unread })
        };
        let own = self.own.iter().filter_map(|(what, at)| place(what.clone(), at, true));
        let of_jobs = others.iter().flat_map(|hosted| {
            let job = &hosted.job.spec;
            job.locations().into_iter().filter(|used| !used.is_read).filter_map(move |used| {
                let is_state = used.path == "state.location";
                // An earlier job of this name hands its places on.
                if job.name == spec.name {
                    return None;
                }
                // Jobs may chain, where those who submit them are trusted with all of them.
                let is_kept_unread = is_state || !caller.is_admin();
                place(
                    format!("{} of the job {}", used.path, job.name),
                    &used.location,
                    is_kept_unread,
                )
            })
        });
        own.chain(of_jobs).collect()
    }
}

/// A place that submitted jobs keep off.
struct Taken {
    what: String,
    prefix: Prefix,
    /// It may not be read either.
    is_kept_unread: bool,
}

/// More files than this are not looked at.
const LOOKED_AT_MAX: usize = 10_000;

/// Where the links in a folder lead that a source reads with all its folders.
fn links_below(location: &str) -> Vec<String> {
    let base: PathBuf = Path::new(location)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
        .collect();
    if location.contains("://") || base.parent().is_none() {
        return vec![];
    }
    let (mut found, mut folders, mut looked_at) = (Vec::new(), vec![base], 0);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink()
                && let Ok(real) = entry.path().canonicalize()
            {
                found.push(real.display().to_string());
            }
        }
    }
    found
}
