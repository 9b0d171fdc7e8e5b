//! Closed windows that late rows have changed, under `allowed_lateness`: each is written once more,
//! in its next revision.
//!
//! Windows of one revision are put together by one plan, as many as `epoch.close_max` bears.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegauge_commitlog::SinkFile;

use super::close::close_query;
use super::compile::CompiledJob;
use super::ingest::IngestContext;
use super::merger::{Merger, bytes_of};
use super::stack_work::StackWork;
use super::stage_work::StageWork;
use crate::error::{Error, Result, from_datafusion};
use crate::operator::StateInput;
use crate::plan::Query;
use crate::sql::WindowShape;
use crate::state::stacks::suits_stacks;
use crate::state::{KeyRange, StatePart, StateShape, StateView};

/// The most windows that one plan puts together.
const WINDOWS_MAX: usize = 4_096;
/// The same on workers, to which what a plan reads goes in a message.
const WINDOWS_MAX_ON_WORKERS: usize = 128;
/// From so many windows on, those over many panes are put together from merges of panes.
const MERGED_WINDOWS_MIN: usize = 9;

/// A query whose closed windows may have changed.
pub(super) struct Revising<'a> {
    pub(super) job: &'a CompiledJob,
    pub(super) query: &'a Query,
    pub(super) works: &'a [&'a StageWork],
    pub(super) context: &'a IngestContext,
}

impl Revising<'_> {
    /// Writes what has changed; `counts` are the revisions of windows by their ends.
    pub(super) async fn write(&self, counts: &mut BTreeMap<i64, u32>) -> Result<Vec<SinkFile>> {
        let mut ends = BTreeSet::new();
        for work in self.works {
            let Some(stage) = self.job.plan.stages.get(&work.id) else {
                return Err(Error::bug(format!("there is no stage {}", work.id)));
            };
            let schema = stage.state_schema().map_err(from_datafusion)?;
            ends.extend(work.changed_ends_us(schema, &self.context.state).await?);
        }
        let mut by_revision: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for end_us in ends {
            let revision = counts.entry(end_us).or_default();
            *revision += 1;
            by_revision.entry(*revision).or_default().push(end_us);
        }
        let mut files = Vec::new();
        for (revision, ends) in by_revision {
            for ends in ends.chunks(self.windows_at_once()) {
                let mut inputs = HashMap::new();
                for work in self.works {
                    inputs.insert(work.id.clone(), self.input(work, ends).await?);
                }
                let (job, query, context) = (self.job, self.query, self.context);
                let session = &context.session;
                files.extend(close_query(job, query, inputs, session, context, revision).await?);
            }
        }
        // A window that can change no more needs no count.
        let settled = self.works.iter().map(|work| work.settled_us());
        let settled_us = settled.min().unwrap_or(i64::MIN);
        counts.retain(|end_us, _| *end_us > settled_us);
        Ok(files)
    }

    /// How many windows one plan may put together, each of which may be of all the state there is.
    fn windows_at_once(&self) -> usize {
        let pieces = self.works.iter().flat_map(|work| &work.pieces);
        let bytes: u64 = pieces.map(|piece| bytes_of(&piece.part)).sum();
        let windows = self.job.spec.epoch.close_bytes_max / bytes.max(1);
        let most = match self.context.crew {
            Some(_) => WINDOWS_MAX_ON_WORKERS,
            None => WINDOWS_MAX,
        };
        usize::try_from(windows).unwrap_or(most).clamp(1, most)
    }

    /// The windows of `work` that end at one of `ends`.
    async fn input(&self, work: &StageWork, ends: &[i64]) -> Result<StateInput> {
        let storage = self.context.state.clone();
        let input = |parts| StateInput {
            storage: storage.clone(),
            parts,
            state: work.state,
            view: StateView::ALL,
        };
        let (shape, by_pane) = match work.state {
            StateShape::Windows(shape) => (shape, false),
            StateShape::Panes(shape) => (shape, true),
            // They are no longer there once they have closed.
            StateShape::Stacks(_) | StateShape::Sessions(_) => return Ok(input(vec![])),
        };
        if by_pane && suits_stacks(&shape) && ends.len() >= MERGED_WINDOWS_MIN {
            let Some(stage) = self.job.plan.stages.get(&work.id) else {
                return Err(Error::bug(format!("there is no stage {}", work.id)));
            };
            let mut merger = Merger::new(stage, self.context)?;
            let ends = ends.iter().copied().collect();
            let stack = StackWork::again(shape, ends, &work.pieces, u64::MAX, &mut merger).await?;
            return Ok(input(stack.all_parts(&mut merger).await?));
        }
        let ranges = ends.iter().filter_map(|end_us| range_of(&shape, *end_us, by_pane));
        let ranges: Vec<KeyRange> = ranges.collect();
        let parts: Vec<StatePart> = work.pieces.iter().map(|piece| piece.part.clone()).collect();
        Ok(input(parts.into_iter().map(|part| part.sliced(ranges.clone())).collect()))
    }
}

/// The rows of the window that ends at `end_us`, under its mark; none where no window does.
fn range_of(shape: &WindowShape, end_us: i64, by_pane: bool) -> Option<KeyRange> {
    let mark_us = end_us.saturating_sub(shape.end_of(0));
    (shape.next_end(end_us.saturating_sub(1)) == end_us).then(|| KeyRange {
        first_us: if by_pane { shape.start_of(mark_us) } else { mark_us },
        last_us: if by_pane { end_us - 1 } else { mark_us },
        key_us: Some(mark_us),
    })
}
