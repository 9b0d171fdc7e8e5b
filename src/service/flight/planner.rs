//! From a statement to a plan that can run: one catalog of one moment, one session, one plan. Where
//! that is done, and for how long, is for others to say.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;

use super::catalog::Catalog;
use super::error::QueryError;
use super::prepared::Question;
use super::query_job::QueryJob;
use super::redacted::without_paths;
use super::session::{query_session, template};
use super::statement::parse;
use super::stores::Stores;
use super::wire::wire_schema;
use crate::sql::{check_plan_size, with_meanings_apart, with_three_values};

/// Plans statements; what it keeps between them is what storages and manifests cost to open.
#[derive(Debug)]
pub(super) struct Planner {
    template: SessionState,
    stores: Arc<Stores>,
}

/// What a statement is asked of.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) jobs: Vec<Arc<QueryJob>>,
    pub(super) now_ms: i64,
    /// What the query's operators may hold.
    pub(super) memory_bytes_max: usize,
}

/// What a statement will give and wants.
#[derive(Debug)]
pub(super) struct Declared {
    /// The columns of its rows; none where they depend on parameters that are not bound.
    pub(super) rows: Option<SchemaRef>,
    /// Its parameters, in their order.
    pub(super) parameters: SchemaRef,
}

/// A query that runs.
pub(super) struct Started {
    pub(super) rows: SendableRecordBatchStream,
    /// The columns as they are sent.
    pub(super) schema: SchemaRef,
}

/// A statement over one moment.
struct Planned {
    session: SessionState,
    plan: LogicalPlan,
}

impl Planner {
    /// A planner that has opened nothing yet.
    pub(super) fn new() -> Result<Self, QueryError> {
        Ok(Self { template: template()?, stores: Arc::default() })
    }

    /// The tables of a moment.
    pub(super) fn catalog(&self, moment: &Moment) -> Result<Catalog, QueryError> {
        Ok(Catalog::new(&moment.jobs, &self.stores, moment.now_ms)?)
    }

    /// What `question` will give, without running it.
    pub(super) async fn declare(
        &self,
        moment: &Moment,
        question: &Question,
    ) -> Result<Declared, QueryError> {
        let Planned { session, plan } = self.plan(moment, question).await?;
        let parameters = parameter_schema(&plan)?;
        if question.parameters.is_some() || parameters.fields().is_empty() {
            let rows = Some(row_schema(&session, &bound(plan, question)?)?);
            return Ok(Declared { rows, parameters });
        }
        Ok(Declared { rows: row_schema(&session, &plan).ok(), parameters })
    }

    /// Begins to run `question`.
    pub(super) async fn start(
        &self,
        moment: &Moment,
        question: &Question,
    ) -> Result<Started, QueryError> {
        let Planned { session, plan } = self.plan(moment, question).await?;
        let plan = bound(plan, question)?;
        let schema = row_schema(&session, &plan)?;
        let shows_plans = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
        let plan = session.create_physical_plan(&plan).await?;
        let rows = execute_stream(plan, session.task_ctx())?;
        let rows = if shows_plans { without_paths(rows) } else { rows };
        Ok(Started { rows, schema })
    }

    async fn plan(&self, moment: &Moment, question: &Question) -> Result<Planned, QueryError> {
        let catalog = Arc::new(self.catalog(moment)?);
        let names = Arc::clone(&catalog).into_list();
        let session = query_session(&self.template, names, moment.memory_bytes_max, moment.now_ms);
        let statement = parse(&session, &question.sql)?;
        let plan = session.statement_to_plan(statement).await.map_err(|error| {
            let error = QueryError::from(error);
            let is_no_table =
                error.message().starts_with("table '") && error.message().ends_with("not found");
            if is_no_table { error.with_hint(&catalog.hint()) } else { error }
        })?;
        let only_queries = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        only_queries.verify_plan(&plan)?;
        check_plan_size(&plan).map_err(QueryError::invalid)?;
        Ok(Planned { session, plan: with_meanings_apart(with_three_values(plan)?)? })
    }
}

/// The columns that clients will see: those after types were made to agree.
fn row_schema(session: &SessionState, plan: &LogicalPlan) -> Result<SchemaRef, QueryError> {
    let analyzed =
        session.analyzer().execute_and_check(plan.clone(), session.config_options(), |_, _| {})?;
    Ok(wire_schema(analyzed.schema().inner()))
}

/// The parameters of a plan: `$1`, `$2` by number, others by name.
fn parameter_schema(plan: &LogicalPlan) -> Result<SchemaRef, QueryError> {
    let mut parameters: Vec<(String, Option<DataType>)> =
        plan.get_parameter_types()?.into_iter().collect();
    parameters.sort_by_key(|(name, _)| (position(name), name.clone()));
    let fields: Vec<Field> = parameters
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type.unwrap_or(DataType::Null), true))
        .collect();
    Ok(wire_schema(&Schema::new(fields)))
}

/// The number of `$1`, from 1.
fn position(name: &str) -> Option<usize> {
    name.strip_prefix('$').and_then(|digits| digits.parse().ok())
}

/// The plan with values in the place of its parameters.
fn bound(plan: LogicalPlan, question: &Question) -> Result<LogicalPlan, QueryError> {
    let wanted = parameter_schema(&plan)?;
    if wanted.fields().is_empty() {
        return Ok(plan);
    }
    let names: Vec<&str> = wanted.fields().iter().map(|field| field.name().as_str()).collect();
    let Some(row) = &question.parameters else {
        return Err(QueryError::invalid(format!(
            "the statement has the parameters {}; bind a row of values",
            names.join(", ")
        )));
    };
    Ok(plan.with_param_values(values(row, &names)?)?)
}

fn values(row: &RecordBatch, names: &[&str]) -> Result<ParamValues, QueryError> {
    let value = |at: usize| ScalarValue::try_from_array(row.column(at), 0);
    let missing = |name: &str| {
        QueryError::invalid(format!(
            "no value is bound for {name}; the statement has {}, the row {} columns",
            names.join(", "),
            row.num_columns()
        ))
    };
    if let Some(last) = names.iter().map(|name| position(name)).max().flatten()
        && names.iter().all(|name| position(name).is_some())
    {
        if last > row.num_columns() {
            return Err(missing(&format!("${last}")));
        }
        let values = (0..last).map(value).collect::<Result<Vec<_>, _>>()?;
        return Ok(ParamValues::from(values));
    }
    let mut by_name = HashMap::new();
    for name in names {
        let bare = name.trim_start_matches('$');
        let schema = row.schema();
        let at = schema.index_of(bare).or_else(|_| schema.index_of(name));
        by_name.insert(bare.to_owned(), value(at.map_err(|_| missing(name))?)?);
    }
    Ok(ParamValues::from(by_name))
}
