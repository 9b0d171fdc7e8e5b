//! Plans that leave out rows of which an expression cannot be computed, and what the columns of such
//! rows are called: those of a stage are named by position.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

use super::job_plan::JobPlan;
use super::lift::lifted_name;
use super::spoken::spoken;
use super::stage::Stage;
use super::template::{PANE, SESSION_END, aggregate_name, key_name};
use crate::operator::{ColumnName, Policy, RowNames, RowReports, isolated};
use crate::sql::Windows;

impl JobPlan {
    /// `plan`, which is over the state of `stages`, with its expressions that may fail in nodes that
    /// find the rows and tell them to `reports`.
    ///
    /// # Errors
    /// When the plan cannot be put together again, which is a defect.
    pub fn isolated<'a>(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        stages: impl IntoIterator<Item = &'a String>,
        policy: Policy,
        reports: &RowReports,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stages: Vec<&Stage> = stages.into_iter().filter_map(|id| self.stages.get(id)).collect();
        let names = |schema: &SchemaRef| names_of(&stages, schema);
        isolated(plan, policy, &names, reports)
    }
}

/// The names of the columns of `schema`, where they are the final rows of one of `stages`.
fn names_of(stages: &[&Stage], schema: &SchemaRef) -> RowNames {
    if schema.fields().first().is_none_or(|field| field.name() != PANE) {
        return RowNames::default();
    }
    let mut named = stages.iter().filter(|stage| {
        stage.final_schema().is_ok_and(|of_stage| has_columns_of(schema, &of_stage))
    });
    match (named.next(), named.next()) {
        (Some(stage), None) => RowNames {
            columns: schema.fields().iter().map(|field| stage.name_of(field.name())).collect(),
        },
        _ => RowNames::default(),
    }
}

fn has_columns_of(schema: &Schema, stage: &Schema) -> bool {
    let columns = |of: &Schema| -> Vec<_> {
        of.fields().iter().map(|one| (one.name().clone(), one.data_type().clone())).collect()
    };
    columns(schema) == columns(stage)
}

impl Stage {
    /// What the column `name` of its final rows is called.
    fn name_of(&self, name: &str) -> ColumnName {
        if name == PANE {
            return match self.windows {
                Windows::Aligned(shape) => ColumnName::Window(shape),
                Windows::Session(_) => ColumnName::Named("session from".to_owned()),
            };
        }
        if name == SESSION_END {
            return ColumnName::Named("to".to_owned());
        }
        let keys = self.partial.keys.exprs.iter().enumerate();
        let mut keys = keys.filter(|(at, _)| key_name(*at) == name);
        let aggregates = self.partial.aggregates.iter().enumerate();
        let mut aggregates = aggregates.filter(|(at, _)| aggregate_name(*at) == name);
        let expr = keys.next().or_else(|| aggregates.next()).map(|(_, expr)| expr);
        let mut text = expr.map_or_else(|| name.to_owned(), spoken);
        for (at, computed) in self.computed.iter().enumerate().rev() {
            text = text.replace(&lifted_name(at), &spoken(computed));
        }
        ColumnName::Named(text)
    }
}
