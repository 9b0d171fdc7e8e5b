//! DataFusion's plans beside the explanation, each under the number of its stage or the line of its
//! query.

use serde::Serialize;

use super::super::failure::Failure;
use super::text::numbered;
use crate::plan::{CutTarget, Explanation, Reads};
use crate::runtime::PhysicalPlans;

/// A physical plan and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PlanText {
    /// `ingest` or `close`.
    step: &'static str,
    /// The stage that it feeds, or the stages whose windows it closes.
    stages: Vec<usize>,
    /// The line of the query whose rows it gives; none where they go to a stage.
    line: Option<u64>,
    /// One operator a line, each indented below the one that reads it.
    plan: String,
}

/// The whole of the JSON.
#[derive(Debug, Serialize)]
struct WithPlans<'a> {
    #[serde(flatten)]
    explanation: &'a Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical: Option<&'a [PlanText]>,
}

/// The JSON, which ends a line.
pub(super) fn json(
    explanation: &Explanation,
    physical: Option<&[PlanText]>,
) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&WithPlans { explanation, physical })
        .map_err(|error| Failure::running(format!("error: the explanation: {error}")))?;
    Ok(text + "\n")
}

/// `plans` under numbers and lines instead of identities, in their order.
pub(super) fn named(job: &Explanation, plans: PhysicalPlans) -> Vec<PlanText> {
    let line = |at: usize| job.sinks.get(at).map(|sink| sink.line);
    let numbers = |ids: &[String]| {
        let mut numbers: Vec<usize> = ids.iter().filter_map(|id| job.number_of(id)).collect();
        numbers.sort_unstable();
        numbers
    };
    let mut named = Vec::new();
    for (target, plan) in plans.ingest {
        let (stages, line) = match target {
            CutTarget::Stage(id) => (numbers(&[id]), None),
            CutTarget::Query(at) => (vec![], line(at)),
        };
        named.push(PlanText { step: "ingest", stages, line, plan });
    }
    for (stages, plan) in plans.feeds {
        named.push(PlanText { step: "close", stages: numbers(&stages), line: None, plan });
    }
    for (at, plan) in plans.queries {
        let stages = job.sinks.get(at).map(|sink| match &sink.reads {
            Reads::Stages { stages, .. } => stages.clone(),
            Reads::Source { .. } => vec![],
        });
        let stages = stages.unwrap_or_default();
        named.push(PlanText { step: "close", stages, line: line(at), plan });
    }
    named.sort_by_key(|plan| {
        (plan.line.is_some(), plan.line, plan.stages.clone(), plan.step == "close")
    });
    named
}

impl PlanText {
    /// The plan under its heading.
    pub(super) fn section(&self) -> String {
        let heading = match (self.step, self.line) {
            ("ingest", None) => format!("ingest plan of {}", numbered(&self.stages)),
            ("ingest", Some(line)) => format!("ingest plan of the query of line {line}"),
            (_, None) => format!("close plan of {} for the next", numbered(&self.stages)),
            (_, Some(line)) => {
                format!("close plan of the query of line {line}, from {}", numbered(&self.stages))
            }
        };
        let plan: Vec<String> = self.plan.lines().map(|line| format!("  {line}")).collect();
        format!("{heading}\n{}\n", plan.join("\n"))
    }
}
