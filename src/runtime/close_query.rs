//! The close plan of one query, over all windows that close or, where it fails and the row could not
//! be found, over ever fewer of them, down to the windows that fail: those are left out.
//!
//! Rows that fail are found where an expression stands by itself (`operator/isolate_exec.rs`). This is
//! for what remains, such as the residual condition of a join: a job must not stand still for it.

use std::collections::HashMap;

use tidegauge_commitlog::{FailedWhere, SinkFile};

use super::close::write_query;
use super::compile::CompiledJob;
use super::epoch_session::EpochSession;
use super::failures::FailedIn;
use super::ingest::IngestContext;
use super::summary::rfc3339;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Policy, Reported, StateInput};
use crate::plan::Query;
use crate::state::StateView;

/// After so many windows that fail, what still fails is left out in ranges: to find each takes dozens
/// of plans.
const SOUGHT_MAX: usize = 16;

/// What a query reads of its stages, by their identity.
pub(super) type Inputs = HashMap<String, StateInput>;

/// Runs the close plan of `query` over `inputs`.
pub(super) async fn close_query(
    job: &CompiledJob,
    query: &Query,
    inputs: Inputs,
    session: &EpochSession,
    context: &IngestContext,
    revision: u32,
) -> Result<Vec<SinkFile>> {
    let may_leave_out = job.on_error() == Policy::Skip;
    let (mut files, mut failed) = (Vec::new(), 0);
    // The whole first: most often there is nothing to look for.
    let mut open = vec![inputs];
    while let Some(inputs) = open.pop() {
        let part = inputs.clone();
        match write_query(job, query, part, session, context, revision).await {
            Ok(written) => files.extend(written),
            Err(error) if error.kind() != ErrorKind::BadRecord || !may_leave_out => {
                return Err(error);
            }
            Err(error) => match halves(&inputs).filter(|_| failed < SOUGHT_MAX) {
                Some([first, second]) => open.extend([second, first]),
                None => {
                    failed += 1;
                    let reported = left_out(&inputs, &error);
                    let of = FailedIn::of(query);
                    context.failures.report(&of, FailedWhere::Results, reported);
                }
            },
        }
    }
    Ok(files)
}

/// The range of ends of windows that is seen of all inputs; none where they were put together already.
fn span_us(inputs: &Inputs) -> Option<(i64, i64)> {
    let mut span: Option<(i64, i64)> = None;
    for input in inputs.values() {
        let StateView::Closing { after_us, through_us } = input.view else { return None };
        if after_us < through_us {
            let (after, through) = span.unwrap_or((after_us, through_us));
            span = Some((after.min(after_us), through.max(through_us)));
        }
    }
    span
}

/// The windows of `inputs` in two parts, if there can be several.
fn halves(inputs: &Inputs) -> Option<[Inputs; 2]> {
    let (after_us, through_us) = span_us(inputs)?;
    let middle_us = after_us.midpoint(through_us);
    if middle_us <= after_us || middle_us >= through_us {
        return None;
    }
    Some([(after_us, middle_us), (middle_us, through_us)].map(|part| within(inputs, part)))
}

fn within(inputs: &Inputs, (first_us, last_us): (i64, i64)) -> Inputs {
    let narrowed = inputs.iter().map(|(id, input)| {
        let view = match input.view {
            StateView::Closing { after_us, through_us } => StateView::Closing {
                after_us: after_us.max(first_us),
                through_us: through_us.min(last_us).max(after_us.max(first_us)),
            },
            other => other,
        };
        (id.clone(), StateInput { view, ..input.clone() })
    });
    narrowed.collect()
}

fn left_out(inputs: &Inputs, error: &Error) -> Reported {
    let windows = match span_us(inputs).and_then(|(_, through_us)| rfc3339(through_us)) {
        Some(end) => format!("all rows of the windows that end at {end}"),
        None => "all rows of the windows that close".to_owned(),
    };
    Reported { rows: 1, example: Some(format!("{}: {windows}", error.message())) }
}
