//! The arithmetic of TUMBLE, HOP and CUMULATE: which windows hold a time, which pane a row belongs
//! to, and when a window or a pane is finished.
//!
//! ```text
//!  size 5, slide 2            |----w----|
//!                       |----w----|
//!  panes of gcd = 1     |-|-|-|-|-|-|-|-|   a window is a whole number of panes
//!
//!  cumulate             |w|
//!  size 3, step 1       |--w|
//!                       |----w|             its windows share their start
//! ```
//!
//! A window is told by one time, its *mark*: the start of a TUMBLE or HOP window, and of a CUMULATE
//! window the start of its last step, since its first is shared.
//!
//! All times are microseconds since 1970-01-01 UTC and may be negative. It knows nothing of
//! plans or rows.

use serde::{Deserialize, Serialize};

/// A window over more panes than this is kept per window instead of per pane.
const PANES_PER_WINDOW_MAX: i64 = 100_000;
/// More windows than this may not hold one time: each of them gives rows of its own.
const WINDOWS_PER_TIME_MAX: i64 = 100_000;

/// The size, slide and offset of a family of windows: `[k * slide + offset, + size)` for every
/// integer `k`. TUMBLE is the family whose slide is its size. Of CUMULATE the slide is the step, and
/// its windows are `[k * size + offset, + n * slide)` for `n` from 1 on, up to the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowShape {
    size_us: i64,
    slide_us: i64,
    offset_us: i64,
    cumulates: bool,
}

impl WindowShape {
    /// Checks the three lengths, in microseconds.
    ///
    /// # Errors
    /// A sentence that says which of them is wrong and what would be right.
    pub fn new(size_us: i64, slide_us: i64, offset_us: i64) -> Result<Self, String> {
        for (what, length_us) in [("size", size_us), ("slide", slide_us)] {
            if length_us < 1_000 {
                return Err(format!("the window's {what} must be at least one millisecond"));
            }
        }
        check_windows_per_time(size_us, slide_us, "slide")?;
        if offset_us.abs() >= slide_us {
            let what = if size_us == slide_us { "size" } else { "slide" };
            return Err(format!("the window's offset must be smaller than its {what}"));
        }
        Ok(Self { size_us, slide_us, offset_us, cumulates: false })
    }

    /// A family of windows that grow by `step_us` up to `size_us`, and then begin anew.
    ///
    /// # Errors
    /// A sentence that says which length is wrong and what would be right.
    pub fn cumulate(size_us: i64, step_us: i64, offset_us: i64) -> Result<Self, String> {
        for (what, length_us) in [("size", size_us), ("step", step_us)] {
            if length_us < 1_000 {
                return Err(format!("the window's {what} must be at least one millisecond"));
            }
        }
        check_windows_per_time(size_us, step_us, "step")?;
        if size_us % step_us != 0 {
            return Err("the window's size must be a multiple of its step".to_owned());
        }
        if offset_us.abs() >= size_us {
            return Err("the window's offset must be smaller than its size".to_owned());
        }
        Ok(Self { size_us, slide_us: step_us, offset_us, cumulates: true })
    }

    /// A family of windows of `size_us` side by side.
    ///
    /// # Errors
    /// As [`WindowShape::new`].
    pub fn tumble(size_us: i64, offset_us: i64) -> Result<Self, String> {
        Self::new(size_us, size_us, offset_us)
    }

    /// Windows of `size_us`, which was checked, side by side from 1970 on.
    pub(super) fn tumble_unchecked(size_us: i64) -> Self {
        Self { size_us, slide_us: size_us, offset_us: 0, cumulates: false }
    }

    /// The length of a window in microseconds; of CUMULATE that of the longest.
    pub fn size_us(&self) -> i64 {
        self.size_us
    }

    /// The distance between the starts of two windows in microseconds; of CUMULATE the step.
    pub fn slide_us(&self) -> i64 {
        self.slide_us
    }

    /// How far the windows' starts are from multiples of the slide (CUMULATE: the size), in
    /// microseconds.
    pub fn offset_us(&self) -> i64 {
        self.offset_us
    }

    /// Whether each time lies in exactly one window.
    pub fn is_tumble(&self) -> bool {
        self.size_us == self.slide_us
    }

    /// Whether windows share their start and grow by steps.
    pub fn cumulates(&self) -> bool {
        self.cumulates
    }

    /// Whether a window's start alone tells which one it is.
    pub fn is_told_by_start(&self) -> bool {
        !self.cumulates || self.is_tumble()
    }

    /// The length of a pane: the greatest length of which size and slide are multiples.
    pub fn pane_us(&self) -> i64 {
        gcd(self.size_us, self.slide_us)
    }

    /// Whether panes pay: windows overlap and hold a bounded number of them.
    pub fn suits_panes(&self) -> bool {
        !self.is_tumble() && self.size_us / self.pane_us() <= PANES_PER_WINDOW_MAX
    }

    /// The most windows that hold one time.
    pub fn windows_per_time(&self) -> usize {
        let windows = self.size_us / self.slide_us + i64::from(self.size_us % self.slide_us != 0);
        usize::try_from(windows).unwrap_or(usize::MAX).max(1)
    }

    /// The start of the pane that holds `time_us`.
    pub fn pane_start(&self, time_us: i64) -> i64 {
        self.floor_to(time_us, self.pane_us())
    }

    /// The mark of the latest window that begins at or before `time_us` (CUMULATE: of the shortest
    /// that holds it); with a slide longer than the size that window may already have ended.
    pub fn last_start(&self, time_us: i64) -> i64 {
        self.floor_to(time_us, self.slide_us)
    }

    /// The first instant of the window with this mark.
    pub fn start_of(&self, mark_us: i64) -> i64 {
        if self.cumulates { self.floor_to(mark_us, self.size_us) } else { mark_us }
    }

    /// The first instant after the window with this mark.
    pub fn end_of(&self, mark_us: i64) -> i64 {
        let length_us = if self.cumulates { self.slide_us } else { self.size_us };
        mark_us.saturating_add(length_us)
    }

    /// The marks of all windows that hold `time_us`, latest first.
    pub fn starts(&self, time_us: i64) -> impl Iterator<Item = i64> + use<> {
        let (size_us, slide_us) = (self.size_us, self.slide_us);
        let (mut next, least) = if self.cumulates {
            let least = self.floor_to(time_us, slide_us);
            (self.floor_to(time_us, size_us) + size_us - slide_us, least)
        } else {
            (self.last_start(time_us), time_us.saturating_sub(size_us).saturating_add(1))
        };
        std::iter::from_fn(move || {
            let mark = next;
            next -= slide_us;
            (mark >= least).then_some(mark)
        })
    }

    /// The end of the last window that holds `time_us`, or nothing where it lies in a gap.
    pub fn last_end(&self, time_us: i64) -> Option<i64> {
        let end = match self.cumulates {
            true => self.floor_to(time_us, self.size_us).saturating_add(self.size_us),
            false => self.last_start(time_us).saturating_add(self.size_us),
        };
        (end > time_us).then_some(end)
    }

    /// The end of the first window that ends after `time_us`.
    pub fn next_end(&self, time_us: i64) -> i64 {
        // Ends lie on the grid of the slide, shifted by the size.
        let ends = if self.cumulates { 0 } else { self.size_us };
        let past = time_us.saturating_sub(ends);
        self.floor_to(past, self.slide_us).saturating_add(self.slide_us).saturating_add(ends)
    }

    fn floor_to(&self, time_us: i64, step_us: i64) -> i64 {
        time_us.saturating_sub(time_us.saturating_sub(self.offset_us).rem_euclid(step_us))
    }
}

fn check_windows_per_time(size_us: i64, slide_us: i64, what: &str) -> Result<(), String> {
    let windows = size_us / slide_us;
    if windows <= WINDOWS_PER_TIME_MAX {
        return Ok(());
    }
    let least_ms = (size_us / WINDOWS_PER_TIME_MAX).div_euclid(1_000) + 1;
    Err(format!(
        "every row would be in {windows} windows, and at most {WINDOWS_PER_TIME_MAX} are taken; make \
         the {what} at least {least_ms} milliseconds, or the size smaller"
    ))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_fall_into_the_window_that_holds_them() {
        let minute = WindowShape::tumble(60_000_000, 0).unwrap();
        assert_eq!(minute.last_start(-1), -60_000_000);
        assert_eq!(minute.last_start(-60_000_000), -60_000_000);
        assert_eq!(minute.last_end(-1), Some(0));
    }

    #[test]
    fn a_hop_lists_every_window_that_holds_a_time() {
        let hop = WindowShape::new(5_000_000, 2_000_000, 0).unwrap();
        let starts: Vec<i64> = hop.starts(4_500_000).map(|us| us / 1_000_000).collect();
        assert_eq!(starts, [4, 2, 0]);
        assert_eq!(hop.pane_us(), 1_000_000);
        assert_eq!(hop.pane_start(4_500_000), 4_000_000);
    }

    #[test]
    fn a_time_is_in_a_bounded_number_of_windows() {
        let day_us = 86_400_000_000;
        for refused in [
            WindowShape::new(day_us, 1_000, 0).unwrap_err(),
            WindowShape::cumulate(day_us, 1_000, 0).unwrap_err(),
        ] {
            assert!(refused.contains("86400000 windows"), "{refused}");
            assert!(refused.contains("at least 865 milliseconds"), "{refused}");
        }
        assert_eq!(WindowShape::new(day_us, 865_000, 0).unwrap().windows_per_time(), 99_885);
        assert!(WindowShape::new(day_us, 1_000_000, 0).unwrap().suits_panes());
    }

    #[test]
    fn a_slide_longer_than_the_size_leaves_gaps() {
        let hop = WindowShape::new(2_000, 5_000, 0).unwrap();
        assert_eq!(hop.last_end(1_999), Some(2_000));
        assert_eq!(hop.last_end(2_000), None);
        assert_eq!(hop.starts(3_000).count(), 0);
    }

    #[test]
    fn cumulated_windows_share_their_start_and_grow() {
        let shape = WindowShape::cumulate(6_000, 2_000, 1_000).unwrap();
        let windows = |time_us: i64| -> Vec<(i64, i64)> {
            shape.starts(time_us).map(|mark| (shape.start_of(mark), shape.end_of(mark))).collect()
        };
        assert_eq!(windows(3_500), [(1_000, 7_000), (1_000, 5_000)]);
        assert_eq!(windows(-5_000), [(-5_000, 1_000), (-5_000, -1_000), (-5_000, -3_000)]);
        assert_eq!(shape.last_end(6_999), Some(7_000));
        assert!(WindowShape::cumulate(5_000, 2_000, 0).is_err());
    }

    #[test]
    fn the_next_end_is_the_least_end_of_any_window_that_is_still_open() {
        let hop = WindowShape::new(5_000, 2_000, 0).unwrap();
        assert_eq!((hop.next_end(4_999), hop.next_end(5_000)), (5_000, 7_000));
        let cumulate = WindowShape::cumulate(6_000, 2_000, 1_000).unwrap();
        assert_eq!((cumulate.next_end(-1_000), cumulate.next_end(999)), (1_000, 1_000));
        let gaps = WindowShape::new(2_000, 5_000, 0).unwrap();
        assert_eq!((gaps.next_end(1_999), gaps.next_end(2_000)), (2_000, 7_000));
    }

    #[test]
    fn an_offset_moves_every_boundary_also_backwards() {
        let minute = WindowShape::tumble(60_000_000, -10_000_000).unwrap();
        assert_eq!(minute.last_start(0), -10_000_000);
        assert_eq!(minute.last_start(50_000_000), 50_000_000);
        assert!(WindowShape::tumble(60_000_000, 60_000_000).is_err());
    }
}
