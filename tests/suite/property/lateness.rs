//! Which rows come late: how far each source was complete when each row came, found by going
//! through the epochs as the engine takes them, so many files of each source at a time.
//!
//! A time moves the watermark where more than 2 % of the epoch's rows are at it or later, or where it
//! is at most the delay ahead of such a time.

use std::collections::HashMap;

use super::Case;
use super::table::DELAY_MS;

/// What was closed when a row came.
#[derive(Debug, Default)]
pub struct Lateness {
    /// By source, up to where windows could not change any more at the start of each epoch: its
    /// latest time in the epochs before, less the delay and what is allowed beyond it.
    closed_us: HashMap<&'static str, Vec<i64>>,
    /// By `id`, the epoch that a row comes in.
    epochs: HashMap<i64, usize>,
}

impl Lateness {
    pub fn of(case: &Case) -> Self {
        let back_us = (DELAY_MS + case.allowed_ms) * 1_000;
        let mut lateness = Self::default();
        let mut begin = 0;
        for portion in 0..case.portions {
            let mut end = begin;
            for (name, table) in case.sources() {
                let files: Vec<usize> = table.files_of(portion, case.portions).collect();
                let epochs = files.chunks(case.files_per_epoch);
                end = end.max(begin + epochs.len());
                let known = lateness.closed_us.entry(name).or_default();
                for (epoch, files) in (begin..).zip(epochs) {
                    let rows = || files.iter().flat_map(|file| table.rows_of(*file));
                    lateness.epochs.extend(rows().map(|row| (row.id, epoch)));
                    // What this epoch shows closes windows for the next.
                    let before = closed_after(known, epoch);
                    let times: Vec<i64> = rows().map(|row| row.ts_us).collect();
                    let latest = confirmed(&times).map(|us| us - back_us);
                    known.resize(epoch + 1, before);
                    known.push(latest.map_or(before, |us| us.max(before)));
                }
            }
            begin = end;
        }
        lateness
    }

    /// Up to where the windows that wait for `sources` were closed when the row came.
    pub fn closed_us(&self, sources: &[&str], id: i64) -> i64 {
        let Some(epoch) = self.epochs.get(&id) else { return i64::MIN };
        let of = |source: &&str| {
            self.closed_us.get(*source).map_or(i64::MIN, |known| closed_after(known, *epoch))
        };
        sources.iter().map(of).min().unwrap_or(i64::MIN)
    }
}

/// The latest of an epoch's times that moves the watermark: each is held against every other.
fn confirmed(times: &[i64]) -> Option<i64> {
    let at_or_after = |us: i64| times.iter().filter(|other| **other >= us).count();
    let is_confirmed = |us: &&i64| at_or_after(**us) * 50 > times.len();
    let surest = times.iter().filter(is_confirmed).max()?;
    times.iter().filter(|us| **us - surest <= DELAY_MS * 1_000).max().copied()
}

/// What is known at the start of `epoch`: what the last epoch before it left.
fn closed_after(known: &[i64], epoch: usize) -> i64 {
    known.get(epoch).or(known.last()).copied().unwrap_or(i64::MIN)
}
