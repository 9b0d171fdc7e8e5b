//! Which runs of a stage are merged into one: those of the lowest tier that is full, so that a row
//! is written anew once a tier and not each time there are too many runs.

/// Rows of a run that is merged no more: merging it would take an epoch longer than reading one more
/// file does.
const WHOLE_ROWS: u64 = 1 << 20;
/// The size of a run that is merged no more.
const WHOLE_BYTES: u64 = 128 << 20;
/// How many times as many rows the runs of a tier have as those of the tier below.
const TIER_RATIO: u64 = 4;
/// Runs that fill a tier.
const TIER_RUNS: usize = 4;

/// A run as it counts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSize {
    /// Its rows.
    pub rows: u64,
    /// Its size in storage.
    pub bytes: u64,
}

/// What bounds the runs of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Tiers {
    /// Runs below which nothing is merged, beside those that are whole.
    pub runs_max: usize,
    /// Whether large runs may stay until all their windows have closed. Not so where what has
    /// closed may share a run with what never does.
    pub leaves_whole: bool,
}

impl Tiers {
    /// The places of the runs that are merged with `fresh_rows` rows which are in no run yet.
    #[must_use]
    pub fn chosen(&self, runs: &[RunSize], fresh_rows: u64) -> Vec<usize> {
        let is_whole = |run: &RunSize| run.rows >= WHOLE_ROWS || run.bytes >= WHOLE_BYTES;
        let mut places: Vec<usize> = (0..runs.len())
            .filter(|place| !self.leaves_whole || !is_whole(&runs[*place]))
            .collect();
        if places.len() + usize::from(fresh_rows > 0) <= self.runs_max {
            return vec![];
        }
        places.sort_by_key(|place| (runs[*place].rows, *place));
        let rows: Vec<u64> = places.iter().map(|place| runs[*place].rows).collect();
        places.truncate(self.count(&rows, fresh_rows));
        places
    }

    /// How many of the runs with these rows, the smallest first, are merged.
    fn count(&self, rows: &[u64], fresh_rows: u64) -> usize {
        let tiers = rows.chunk_by(|a, b| tier(*a) == tier(*b));
        let mut below = 0;
        for runs in tiers {
            below += runs.len();
            if runs.len() >= TIER_RUNS {
                return self.bounded(&rows[..below], rows.len(), fresh_rows);
            }
        }
        rows.len() - self.runs_max / 2
    }

    /// As many of `rows` as make a whole run, and as many as it takes to keep to the bound.
    fn bounded(&self, rows: &[u64], of: usize, mut sum: u64) -> usize {
        if !self.leaves_whole {
            return rows.len();
        }
        let mut count = 0;
        while count < rows.len() && (sum < WHOLE_ROWS || of - count + 1 > self.runs_max) {
            sum += rows[count];
            count += 1;
        }
        count
    }
}

fn tier(rows: u64) -> u32 {
    rows.checked_ilog(TIER_RATIO).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{RunSize, TIER_RATIO, Tiers, WHOLE_ROWS};

    const WINDOWS: Tiers = Tiers { runs_max: 16, leaves_whole: true };
    const SESSIONS: Tiers = Tiers { runs_max: 16, leaves_whole: false };

    fn runs(rows: &[u64]) -> Vec<RunSize> {
        rows.iter().map(|rows| RunSize { rows: *rows, bytes: rows * 10 }).collect()
    }

    /// Writes `epochs` runs of `rows` rows; gives the rows written and those of each run at last.
    fn written(tiers: Tiers, epochs: u64, rows: u64) -> (u64, Vec<u64>, usize) {
        let (mut written, mut state, mut most) = (0, Vec::new(), 0);
        for _ in 0..epochs {
            let chosen = tiers.chosen(&runs(&state), rows);
            let merged: u64 = chosen.iter().map(|place| state[*place]).sum();
            let stays = (0..state.len()).filter(|place| !chosen.contains(place));
            state = stays.map(|place| state[place]).collect();
            state.push(merged + rows);
            written += merged + rows;
            most = most.max(state.iter().filter(|rows| **rows < WHOLE_ROWS).count());
        }
        (written, state, most)
    }

    #[test]
    fn nothing_is_merged_within_the_bound() {
        assert!(WINDOWS.chosen(&runs(&[10; 15]), 10).is_empty());
        assert!(WINDOWS.chosen(&runs(&[10; 16]), 0).is_empty());
    }

    #[test]
    fn a_full_tier_is_merged_and_larger_runs_stay() {
        let mut rows = vec![5_000; 4];
        rows.extend([100; 13]);
        let chosen = WINDOWS.chosen(&runs(&rows), 100);
        assert_eq!(chosen, (4..17).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_full_tier_the_smallest_half_is_merged() {
        let tiers = Tiers { runs_max: 4, leaves_whole: true };
        assert_eq!(tiers.chosen(&runs(&[1, 10, 100, 1_000]), 5), [0, 1]);
        let tiers = Tiers { runs_max: 2, leaves_whole: true };
        assert_eq!(tiers.chosen(&runs(&[30, 10]), 5), [1]);
    }

    #[test]
    fn a_whole_run_stays_and_does_not_count() {
        let rows = vec![WHOLE_ROWS; 40];
        assert!(WINDOWS.chosen(&runs(&rows), 10).is_empty());
        assert_eq!(SESSIONS.chosen(&runs(&rows), 10).len(), 40);
    }

    #[test]
    fn a_merge_ends_with_a_whole_run() {
        let half = WHOLE_ROWS / 2;
        assert_eq!(WINDOWS.chosen(&runs(&[half; 16]), 10).len(), 2);
        // More than that only where the bound asks for it.
        assert_eq!(WINDOWS.chosen(&runs(&[half; 30]), 10).len(), 15);
    }

    #[test]
    fn a_row_is_written_once_a_tier() {
        for rows in [20, 2_000, 20_000] {
            let epochs = 2_000;
            let (written, state, most) = written(WINDOWS, epochs, rows);
            let tiers = f64::from((epochs * rows).min(WHOLE_ROWS).ilog(TIER_RATIO))
                - f64::from(rows.ilog(TIER_RATIO));
            let times = written as f64 / (epochs * rows) as f64;
            assert!(times <= tiers + 1.0, "{times} times with {tiers} tiers: {state:?}");
            assert!(most <= 16, "{most}");
        }
    }

    #[test]
    fn what_never_closes_is_merged_with_all_else_in_time() {
        let (written, state, most) = written(SESSIONS, 5_000, 1_000);
        assert!(most <= 16 && state.len() <= 16, "{state:?}");
        assert!(written <= 5_000 * 1_000 * 8, "{written}");
    }
}
