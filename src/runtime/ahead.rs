//! How far the rows of an epoch say that event time has come, when a clock among them may be ahead.
//!
//! ```text
//!   times of an epoch, latest first:   50 min ahead |  gap  | the other 999 rows ...
//!                                      not confirmed        ^ confirmed: more than 2 % are here or
//!                                                             later
//! ```
//!
//! A time is *confirmed* when more than `ahead_share` of the epoch's rows (2 %, at most
//! [`CONFIRMING_MAX`] of them) are at it or later; of fewer than 50 rows one confirms itself, so that
//! a source of few rows does not stall. The source has come to its latest time that is no further
//! than the delay ahead of the latest confirmed one: mostly that is its latest time.
//! Rows above a gap that is longer than the delay are counted as ahead.
//!
//! Rows later than the epoch's own clock (by more than `ahead_max`) count for nothing of this as long
//! as there are others: no clock of an honest row shows what has not come yet. Where all rows are
//! so, this machine's clock may be the one that is wrong, and the source has come to that clock.
//!
//! Both depend on the epoch's rows and its committed clock alone, not on the order of rows, nor on
//! how they are split among partitions and workers: what is kept of them adds up.

use datafusion::arrow::array::TimestampMicrosecondArray;
use serde::{Deserialize, Serialize};

/// Of a large epoch no more rows than this have to confirm a time, so that no more are kept, and a
/// back-fill stays no more rows behind.
pub(super) const CONFIRMING_MAX: usize = 10_000;

/// As many times are collected before the earliest of them are forgotten: each row costs a look or two.
const KEPT_MAX: usize = 4 * CONFIRMING_MAX;

/// The clock that rows are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AheadRule {
    /// Later rows than this are later than the wall clock.
    pub(crate) clock_us: i64,
    /// How far ahead of others a row may be.
    pub(crate) delay_us: i64,
    /// Parts of a million: the share of an epoch's rows that does not suffice to confirm a time.
    pub(crate) share_ppm: u32,
}

/// The latest times of an epoch's rows, as many as can matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LatestTimes {
    /// Rows no later than the clock.
    rows: u64,
    /// Rows later than the clock.
    past_clock: u64,
    /// Those of them that are later by more than the delay.
    ahead_of_clock: u64,
    /// Times of rows no later than the clock, in no order: the [`CONFIRMING_MAX`] latest at least.
    latest_us: Vec<i64>,
    /// No time earlier than this can be among them.
    least_us: Option<i64>,
}

/// How far an epoch's rows say that their source has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// None where there were no rows.
    pub(crate) time_us: Option<i64>,
    /// Rows that are further ahead than the delay bears, of the clock or of what is confirmed.
    pub(crate) rows_ahead: u64,
}

impl LatestTimes {
    /// Takes in the times of a batch without NULLs, the latest of which is `last_us`.
    pub(super) fn add(
        &mut self,
        times: &TimestampMicrosecondArray,
        last_us: i64,
        rule: &AheadRule,
    ) {
        let rows = times.len() as u64;
        let mut past = 0;
        if last_us > rule.clock_us {
            let far_us = rule.clock_us.saturating_add(rule.delay_us);
            let later = |than: i64| times.values().iter().filter(|us| **us > than).count() as u64;
            past = later(rule.clock_us);
            self.past_clock += past;
            self.ahead_of_clock += later(far_us);
        }
        self.rows += rows - past;
        let least_us = self.least_us.unwrap_or(i64::MIN);
        if last_us < least_us {
            return;
        }
        let wanted = times.values().iter().filter(|us| (least_us..=rule.clock_us).contains(us));
        self.latest_us.extend(wanted);
        self.forget();
    }

    /// Takes in what another part of the pass has seen.
    pub(super) fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.past_clock += other.past_clock;
        self.ahead_of_clock += other.ahead_of_clock;
        self.latest_us.extend(other.latest_us);
        self.forget();
    }

    /// Leaves those that can matter, once there are many more.
    fn forget(&mut self) {
        if self.latest_us.len() < KEPT_MAX {
            return;
        }
        let (_, least, _) =
            self.latest_us.select_nth_unstable_by(CONFIRMING_MAX - 1, |a, b| b.cmp(a));
        self.least_us = Some(*least);
        self.latest_us.truncate(CONFIRMING_MAX);
    }

    /// The latest time that is no later than the clock.
    pub(super) fn last_us(&self) -> Option<i64> {
        self.latest_us.iter().max().copied()
    }

    /// How far the source has come by these rows.
    pub(super) fn reach(&self, rule: &AheadRule) -> Reach {
        let sorted = self.sorted();
        let share = u128::from(self.rows) * u128::from(rule.share_ppm) / 1_000_000;
        let confirming = usize::try_from(share).unwrap_or(usize::MAX).min(CONFIRMING_MAX - 1);
        let Some(confirmed_us) = sorted.get(confirming) else {
            let time_us = (self.past_clock > 0).then_some(rule.clock_us);
            return Reach { time_us, rows_ahead: self.ahead_of_clock };
        };
        let borne_us = confirmed_us.saturating_add(rule.delay_us);
        let time_us = sorted.iter().find(|us| **us <= borne_us).copied();
        // Of rows that follow each other closely, as in a back-fill, none is ahead.
        let follows =
            |at: &usize| sorted[*at].abs_diff(sorted[at + 1]) <= rule.delay_us.unsigned_abs();
        let ahead = (0..confirming).rev().take_while(follows).last().unwrap_or(confirming);
        Reach { time_us, rows_ahead: self.ahead_of_clock + ahead as u64 }
    }

    /// The times that are kept, latest first.
    fn sorted(&self) -> Vec<i64> {
        let mut sorted = self.latest_us.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        sorted.truncate(CONFIRMING_MAX);
        sorted
    }
}

/// As it travels: times as their distances, which are short.
#[derive(Debug, Serialize, Deserialize)]
struct Packed {
    rows: u64,
    past_clock: u64,
    ahead_of_clock: u64,
    first_us: Option<i64>,
    steps_us: Vec<u64>,
}

impl Serialize for LatestTimes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let sorted = self.sorted();
        let steps = sorted.windows(2).map(|two| two[0].abs_diff(two[1]));
        let (rows, past_clock, ahead_of_clock) = (self.rows, self.past_clock, self.ahead_of_clock);
        let (first_us, steps_us) = (sorted.first().copied(), steps.collect());
        Packed { rows, past_clock, ahead_of_clock, first_us, steps_us }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for LatestTimes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let packed = Packed::deserialize(from)?;
        let mut latest_us = Vec::from_iter(packed.first_us);
        for step in packed.steps_us {
            let last = latest_us.last().copied().unwrap_or_default();
            latest_us.push(last.saturating_sub_unsigned(step));
        }
        Ok(Self {
            rows: packed.rows,
            past_clock: packed.past_clock,
            ahead_of_clock: packed.ahead_of_clock,
            latest_us,
            least_us: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: AheadRule = AheadRule { clock_us: 1_000_000, delay_us: 10, share_ppm: 20_000 };

    fn latest(times: &[i64]) -> LatestTimes {
        let mut latest = LatestTimes::default();
        for part in times.chunks(7) {
            let last = part.iter().max().copied().unwrap();
            latest.add(&TimestampMicrosecondArray::from(part.to_vec()), last, &RULE);
        }
        latest
    }

    fn reach(times: &[i64]) -> (Option<i64>, u64) {
        let Reach { time_us, rows_ahead } = latest(times).reach(&RULE);
        (time_us, rows_ahead)
    }

    #[test]
    fn where_no_clock_is_ahead_it_is_the_latest_time() {
        assert_eq!(reach(&[]), (None, 0));
        assert_eq!(reach(&[5]), (Some(5), 0));
        // Of fewer than fifty rows one is enough, however far it is ahead.
        assert_eq!(reach(&[5, 5_000]), (Some(5_000), 0));
        let dense: Vec<i64> = (0..10_000).map(|row| row / 100).collect();
        assert_eq!(reach(&dense), (Some(99), 0));
    }

    #[test]
    fn a_row_that_is_further_ahead_than_the_delay_waits_for_others() {
        let mut rows = vec![100; 998];
        rows.extend([110, 3_000]);
        assert_eq!(reach(&rows), (Some(110), 1));
        // Two in a hundred are not enough, three are.
        let mut rows = vec![100; 98];
        rows.extend([3_000, 3_000]);
        assert_eq!(reach(&rows), (Some(100), 2));
        rows[0] = 3_005;
        assert_eq!(reach(&rows), (Some(3_005), 0));
    }

    #[test]
    fn what_the_wall_clock_does_not_show_yet_counts_only_where_there_is_nothing_else() {
        assert_eq!(reach(&[100, 1_000_000, 1_000_005, 1_000_011]), (Some(1_000_000), 1));
        assert_eq!(reach(&[100, 1_500_000]), (Some(100), 1));
        assert_eq!(reach(&[1_500_000, 1_600_000]), (Some(1_000_000), 2));
    }

    #[test]
    fn it_does_not_depend_on_order_parts_or_the_way_that_they_travel() {
        let mut rows: Vec<i64> = (0..90_000).map(|row| row * 7_919 % 90_001).collect();
        rows.extend((0..60).map(|row| 900_000 + row));
        let wanted = reach(&rows);
        // Rows beyond those that are kept do not matter: the 1,801st latest is confirmed.
        assert_eq!(wanted, (Some(88_269), 60));
        rows.reverse();
        assert_eq!(reach(&rows), wanted);
        let mut parts = LatestTimes::default();
        for part in rows.chunks(31_000) {
            let text = serde_json::to_string(&latest(part)).unwrap();
            parts.merge(serde_json::from_str(&text).unwrap());
        }
        let Reach { time_us, rows_ahead } = parts.reach(&RULE);
        assert_eq!((time_us, rows_ahead), wanted);
    }

    #[test]
    fn a_large_epoch_stays_a_bounded_number_of_rows_behind() {
        let rows: Vec<i64> = (0..900_000).collect();
        let (time_us, ahead) = reach(&rows);
        assert_eq!(time_us, Some(899_999 - 9_999 + 10));
        assert_eq!(ahead, 0, "they follow each other");
    }
}
