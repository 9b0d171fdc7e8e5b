//! The plans of an epoch as DataFusion shows them, made as an epoch makes them but over no files
//! and no state.

use std::collections::HashMap;

use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::compile::CompiledJob;
use crate::error::{Error, Result, from_datafusion};
use crate::operator::StateInput;
use crate::plan::{CutTarget, Input};
use crate::state::StateView;

/// The clock that `now()` shows in the plans: 1970, so that they are the same at any time.
const CLOCK_MS: i64 = 0;

/// The text of all plans of a job's epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalPlans {
    /// The ingest plans, of sources first.
    pub ingest: Vec<(CutTarget, String)>,
    /// The close plans of feeds, by the stages that they read.
    pub feeds: Vec<(Vec<String>, String)>,
    /// The close plans of queries, by their position in the job.
    pub queries: Vec<(usize, String)>,
}

impl CompiledJob {
    /// The plans of an epoch, as text.
    ///
    /// # Errors
    /// When a plan cannot be made, which is a defect.
    pub async fn physical_plans(&self) -> Result<PhysicalPlans> {
        let session = self.session_at(CLOCK_MS);
        let sources = self.spec.sources.iter().map(|source| Input::Source(source.name.clone()));
        let feeds = self.plan.feeds.keys().map(|id| Input::Feed(id.clone()));
        let mut ingest = Vec::new();
        for input in sources.chain(feeds) {
            let cuts = self.plan.ingest_cuts(&session, &input).await.map_err(from_datafusion)?;
            ingest.extend(cuts.into_iter().map(|cut| (cut.target, text(cut.plan.as_ref()))));
        }
        let mut feeds = Vec::new();
        for feed in self.plan.feeds.values() {
            let stages: Vec<String> = feed.stages.iter().cloned().collect();
            let inputs = self.empty_inputs(&stages)?;
            let plan = self.plan.feed_plan(&session, feed, inputs).await;
            feeds.push((stages, text(plan.map_err(from_datafusion)?.as_ref())));
        }
        let mut queries = Vec::new();
        for (at, query) in self.plan.queries.iter().enumerate() {
            if query.is_stateless() {
                continue;
            }
            let inputs = self.empty_inputs(&query.stages)?;
            let plan = self.plan.close_plan(&session, query, inputs, 0).await;
            queries.push((at, text(plan.map_err(from_datafusion)?.as_ref())));
        }
        Ok(PhysicalPlans { ingest, feeds, queries })
    }

    /// What close plans of `stages` read where there is no state.
    fn empty_inputs(&self, stages: &[String]) -> Result<HashMap<String, StateInput>> {
        let storage = self.state_storage()?;
        let view = StateView::Closing { after_us: i64::MIN, through_us: i64::MAX };
        let input = |id: &String| {
            let Some(stage) = self.plan.stages.get(id) else {
                return Err(Error::bug(format!("there is no stage {id}")));
            };
            let (storage, state) = (storage.clone(), stage.state_shape());
            Ok((id.clone(), StateInput { storage, parts: vec![], state, view }))
        };
        stages.iter().map(input).collect()
    }
}

fn text(plan: &dyn ExecutionPlan) -> String {
    displayable(plan).indent(false).to_string()
}
