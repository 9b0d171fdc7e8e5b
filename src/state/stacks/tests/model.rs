//! A state of row numbers instead of aggregates, and what each window must hold of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;

use super::super::{
    ClosingWindow, Merge, Piece, Role, Slice, Step, Sum, Walk, Watermarks, last_open_end_us,
};
use crate::error::Result;
use crate::sql::WindowShape;

/// Row numbers by first key.
pub(super) type Rows = Arc<BTreeMap<i64, Vec<u32>>>;

/// Merges row numbers, and counts what that takes.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) merges: usize,
    pub(super) slices: usize,
    pub(super) steps: usize,
    pub(super) asked: usize,
}

impl Counting {
    fn read(&mut self, slice: &Slice<Rows>) -> Vec<u32> {
        self.slices += 1;
        rows_of(slice)
    }
}

/// The rows of a slice, all together.
pub(super) fn rows_of(slice: &Slice<Rows>) -> Vec<u32> {
    let keys = slice.part.range(slice.first_us..=slice.last_us);
    keys.flat_map(|(_, rows)| rows.clone()).collect()
}

impl Merge<Rows> for Counting {
    async fn merge(&mut self, steps: Vec<Step<Rows>>, sum: Sum) -> Result<Option<Rows>> {
        self.merges += 1;
        self.steps += steps.len();
        let mut merged = BTreeMap::new();
        let mut running = Vec::new();
        for step in steps {
            let rows: Vec<u32> = step.inputs.iter().flat_map(|slice| self.read(slice)).collect();
            match sum {
                Sum::Each => running = rows,
                Sum::Running => running.extend(rows),
            }
            if !running.is_empty() {
                let before = merged.insert(step.key_us, running.clone());
                assert_eq!(before, None, "two merges under {}", step.key_us);
            }
        }
        Ok((!merged.is_empty()).then(|| Arc::new(merged)))
    }

    async fn select(&mut self, slice: Slice<Rows>) -> Result<Option<Rows>> {
        let keys = slice.part.range(slice.first_us..=slice.last_us);
        let rows: BTreeMap<_, _> = keys.map(|(key, rows)| (*key, rows.clone())).collect();
        Ok((!rows.is_empty()).then(|| Arc::new(rows)))
    }

    async fn keys(&mut self, slice: Slice<Rows>) -> Result<Vec<i64>> {
        self.asked += 1;
        Ok(slice.part.range(slice.first_us..=slice.last_us).map(|(key, _)| *key).collect())
    }
}

/// A stage that closes windows epoch by epoch, beside the plain account of what they must hold.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) shape: WindowShape,
    pub(super) watermark_us: Option<i64>,
    pub(super) state: Vec<Piece<Rows>>,
    pub(super) panes_from_us: Option<i64>,
    pub(super) closed: BTreeMap<i64, Vec<u32>>,
    pub(super) expected: BTreeMap<i64, Vec<u32>>,
    pub(super) counting: Counting,
    pub(super) windows: usize,
    pub(super) parts_max: usize,
    rows: u32,
}

impl Stage {
    pub(super) fn new(shape: WindowShape) -> Self {
        Self {
            shape,
            watermark_us: None,
            state: vec![],
            panes_from_us: None,
            closed: BTreeMap::new(),
            expected: BTreeMap::new(),
            counting: Counting::default(),
            windows: 0,
            parts_max: 0,
            rows: 0,
        }
    }

    /// An epoch with rows of these times, in `pieces` pieces, up to a watermark.
    pub(super) fn epoch(&mut self, times_us: &[i64], pieces: usize, through_us: Option<i64>) {
        let fresh = self.take_in(times_us, pieces);
        let through_us = through_us.max(self.watermark_us);
        let watermarks = Watermarks { after_us: self.watermark_us, through_us };
        let given = std::mem::take(&mut self.state);
        let given_paths: Vec<_> = given.iter().map(|piece| Arc::as_ptr(&piece.part)).collect();
        let counting = &mut self.counting;
        let (windows, remains) = block_on(async {
            let mut walk =
                Walk::start(&self.shape, watermarks, given.clone(), fresh, counting).await.unwrap();
            let mut windows = Vec::new();
            while let Some(window) = walk.next(counting).await.unwrap() {
                windows.push(window);
            }
            (windows, walk.finish(counting).await.unwrap())
        });
        for window in windows {
            self.take_window(window, through_us);
        }
        for piece in &remains.kept {
            if given_paths.contains(&Arc::as_ptr(&piece.part)) {
                assert!(given.contains(piece), "a piece that was there has changed: {piece:?}");
            }
        }
        let is_kept = |piece: &Piece<Rows>| {
            remains.kept.iter().any(|kept| Arc::ptr_eq(&kept.part, &piece.part))
        };
        for piece in &given {
            assert!(is_kept(piece) != remains.dropped.contains(piece), "{piece:?}");
        }
        self.state = remains.kept;
        self.panes_from_us = remains.panes_from_us;
        self.watermark_us = through_us;
    }

    /// The rows that are not late, as pieces, each noted in every window that it counts in.
    fn take_in(&mut self, times_us: &[i64], pieces: usize) -> Vec<Piece<Rows>> {
        let closed_us = self.watermark_us.unwrap_or(i64::MIN);
        let mut parts = vec![BTreeMap::<i64, Vec<u32>>::new(); pieces];
        for (number, &time_us) in times_us.iter().enumerate() {
            let marks = self.shape.starts(time_us);
            let open: Vec<i64> =
                marks.filter(|mark| self.shape.end_of(*mark) > closed_us).collect();
            if open.is_empty() {
                continue;
            }
            let row = self.rows;
            self.rows += 1;
            for mark_us in open {
                self.expected.entry(mark_us).or_default().push(row);
            }
            let pane_us = self.shape.pane_start(time_us);
            parts[number % pieces].entry(pane_us).or_default().push(row);
        }
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.map(|part| piece(Role::Panes, part)).collect()
    }

    fn take_window(&mut self, window: ClosingWindow<Rows>, through_us: Option<i64>) {
        let mark_us = window.mark_us;
        let end_us = self.shape.end_of(mark_us);
        assert!(Some(end_us) <= through_us && Some(end_us) > self.watermark_us);
        let merges = window.parts.iter().filter(|part| part.role != Role::Stray).count();
        self.parts_max = self.parts_max.max(merges);
        self.windows += 1;
        let mut rows: Vec<u32> = window.parts.iter().flat_map(rows_of).collect();
        rows.sort_unstable();
        if !rows.is_empty() {
            assert_eq!(self.closed.insert(mark_us, rows), None, "{mark_us} closed twice");
        }
    }

    /// Closes all windows and holds them against what they must be.
    pub(super) fn drain_and_check(&mut self) {
        let ends = self.expected.keys().map(|mark| self.shape.end_of(*mark));
        self.epoch(&[], 1, ends.max());
        self.check_closed();
        assert_eq!(self.closed.len(), self.expected.len());
        assert_eq!(self.state, [], "nothing is open, and something is kept");
    }

    /// Holds the windows that have closed against what they must be.
    pub(super) fn check_closed(&self) {
        for (mark_us, rows) in &self.expected {
            if Some(self.shape.end_of(*mark_us)) <= self.watermark_us {
                assert_eq!(self.closed.get(mark_us), Some(rows), "the window of {mark_us}");
            }
        }
    }

    /// What is done between epochs: pieces are written and read, and those of a role put together.
    pub(super) fn compact(&mut self, is_put_together: impl Fn(Role) -> bool) {
        let (together, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.state)
            .into_iter()
            .partition(|piece| is_put_together(piece.role));
        let mut by_role: BTreeMap<Role, BTreeMap<i64, Vec<u32>>> = BTreeMap::new();
        for piece in together {
            for (key, rows) in piece.part.range(piece.first_us..=piece.last_us) {
                if piece.role == Role::Panes && Some(*key) < self.panes_from_us {
                    continue;
                }
                let part = by_role.entry(piece.role).or_default();
                part.entry(*key).or_default().extend(rows);
            }
        }
        kept.extend(by_role.into_iter().map(|(role, part)| piece(role, part)));
        self.state = kept.into_iter().map(|piece| written_and_read(&piece)).collect();
    }

    /// The pieces, whose ranges are exact now, tell how far the watermark must go to close all.
    pub(super) fn check_open(&self) {
        let ends = self.expected.keys().map(|mark| self.shape.end_of(*mark));
        let open = ends.max().filter(|end| Some(*end) > self.watermark_us);
        assert_eq!(last_open_end_us(&self.shape, &self.state), open);
    }

    /// How many pieces of a role are kept.
    pub(super) fn kept(&self, role: Role) -> usize {
        self.state.iter().filter(|piece| piece.role == role).count()
    }
}

/// A piece with exactly the range of its keys, as a run has it.
fn piece(role: Role, part: BTreeMap<i64, Vec<u32>>) -> Piece<Rows> {
    let (first_us, last_us) = (*part.keys().next().unwrap(), *part.keys().last().unwrap());
    Piece { role, first_us, last_us, part: Arc::new(part) }
}

/// A run holds the rows in its range, and its role is told beside it.
fn written_and_read(written: &Piece<Rows>) -> Piece<Rows> {
    let rows = written.part.range(written.first_us..=written.last_us);
    let part: BTreeMap<_, _> = rows.map(|(key, rows)| (*key, rows.clone())).collect();
    let role = serde_json::from_str(&serde_json::to_string(&written.role).unwrap()).unwrap();
    piece(role, part)
}
