//! From a statement to its rows: one snapshot of all jobs, one session, one plan, one task.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use tidegauge_commitlog::Clock;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::catalog::Catalog;
use super::error::QueryError;
use super::prepared::Question;
use super::running::Running;
use super::session::{query_session, template};
use super::settings::QueryLimits;
use super::statement::parse;
use super::stores::Stores;
use super::wire::wire_schema;
use crate::service::Jobs;

/// How often a query is planned anew because the log moved on while its files were looked up.
const SNAPSHOTS_MAX: u32 = 3;

/// Answers statements.
pub(super) struct Queries {
    jobs: Arc<dyn Jobs>,
    clock: Arc<dyn Clock>,
    limits: QueryLimits,
    template: SessionState,
    stores: Arc<Stores>,
    permits: Arc<Semaphore>,
}

/// What a statement will give and wants.
pub(super) struct Declared {
    /// The columns of its rows; none where they depend on parameters that are not bound.
    pub(super) rows: Option<SchemaRef>,
    /// Its parameters, in their order.
    pub(super) parameters: SchemaRef,
}

/// A statement over one snapshot.
struct Planned {
    session: SessionState,
    plan: LogicalPlan,
}

/// A plan that can run.
struct Ready {
    session: SessionState,
    plan: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
}

impl Queries {
    /// Answers over `jobs`.
    pub(super) fn new(
        jobs: Arc<dyn Jobs>,
        clock: Arc<dyn Clock>,
        limits: QueryLimits,
    ) -> Result<Self, QueryError> {
        Ok(Self {
            jobs,
            clock,
            limits,
            template: template()?,
            stores: Arc::default(),
            permits: Arc::new(Semaphore::new(limits.running_max)),
        })
    }

    /// The tables as of now.
    pub(super) fn catalog(&self) -> Result<Catalog, QueryError> {
        let jobs = self.jobs.snapshots().into_iter().map(Arc::new).collect();
        Ok(Catalog::new(jobs, &self.stores, self.clock.now_ms())?)
    }

    /// What `question` will give, without running it.
    pub(super) async fn declare(&self, question: &Question) -> Result<Declared, QueryError> {
        let declared = async {
            let Planned { session, plan } = self.plan(question).await?;
            let parameters = parameter_schema(&plan)?;
            if question.parameters.is_some() || parameters.fields().is_empty() {
                let rows = Some(row_schema(&session, &bound(plan, question)?)?);
                return Ok(Declared { rows, parameters });
            }
            Ok(Declared { rows: row_schema(&session, &plan).ok(), parameters })
        };
        self.in_time(declared).await
    }

    /// Waits for what belongs to a query as long as for a query.
    pub(super) async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        timeout(self.limits.time_max, asked).await.unwrap_or_else(|_| Err(self.too_long()))
    }

    /// Runs `question`.
    pub(super) async fn run(&self, question: &Question) -> Result<Running, QueryError> {
        let deadline = Instant::now() + self.limits.time_max;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Err(QueryError::exhausted(format!(
                "{} queries are running, and no more may at once; try again",
                self.limits.running_max
            )));
        };
        let ready = timeout_at(deadline, self.ready(question));
        let Ready { session, plan, schema } =
            ready.await.unwrap_or_else(|_| Err(self.too_long()))?;
        let rows = execute_stream(plan, session.task_ctx())?;
        Ok(Running::start(rows, schema, permit, (deadline, self.too_long())))
    }

    /// The plan over one snapshot; over a newer one, where the log moved on underneath.
    async fn ready(&self, question: &Question) -> Result<Ready, QueryError> {
        let mut tried = 1;
        loop {
            match self.ready_once(question).await {
                Err(error) if error.is_unavailable() && tried < SNAPSHOTS_MAX => tried += 1,
                done => return done,
            }
        }
    }

    async fn ready_once(&self, question: &Question) -> Result<Ready, QueryError> {
        let Planned { session, plan } = self.plan(question).await?;
        let plan = bound(plan, question)?;
        let schema = row_schema(&session, &plan)?;
        let plan = session.create_physical_plan(&plan).await?;
        Ok(Ready { session, plan, schema })
    }

    async fn plan(&self, question: &Question) -> Result<Planned, QueryError> {
        let catalog = Arc::new(self.catalog()?);
        let names = Arc::clone(&catalog).into_list();
        let now_ms = self.clock.now_ms();
        let session = query_session(&self.template, names, self.limits.memory_bytes_max, now_ms);
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
        Ok(Planned { session, plan })
    }

    fn too_long(&self) -> QueryError {
        QueryError::deadline(format!(
            "the query took longer than {} s, which is the most a query may; ask for less of it, \
             such as fewer windows or one partition",
            self.limits.time_max.as_secs_f64()
        ))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegauge_commitlog::SystemClock;
    use tonic::{Code, Status};

    use super::*;
    use crate::service::JobSnapshot;

    struct NoJobs;

    impl Jobs for NoJobs {
        fn snapshots(&self) -> Vec<JobSnapshot> {
            vec![]
        }
    }

    #[tokio::test]
    async fn what_belongs_to_a_query_takes_no_longer_than_one() {
        let limits = QueryLimits { time_max: Duration::from_millis(20), ..QueryLimits::default() };
        let queries = Queries::new(Arc::new(NoJobs), Arc::new(SystemClock), limits).unwrap();
        let stalled = std::future::pending::<Result<(), QueryError>>();
        let error = Status::from(queries.in_time(stalled).await.unwrap_err());
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(queries.in_time(async { Ok(1) }).await.is_ok());
    }
}
