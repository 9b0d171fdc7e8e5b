//! The life of a query: a place among those that run, the jobs of one moment, a deadline, and the
//! threads or the process that does the work. Nothing of a statement is read by whoever answers
//! clients, so that none can hold them up.

use std::sync::Arc;

use tidegauge_commitlog::Clock;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::apart::Pool;
use super::catalog::Catalog;
use super::error::QueryError;
use super::planner::{Declared, Moment, Planner};
use super::prepared::Question;
use super::query_job::QueryJob;
use super::query_runtime::QueryRuntime;
use super::running::Running;
use super::settings::{FlightSettings, QueryLimits};
use crate::service::{JobSnapshot, Jobs};

/// How often a query is planned anew because the log moved on while its files were looked up.
const SNAPSHOTS_MAX: u32 = 3;

/// Answers statements.
pub(super) struct Queries {
    jobs: Arc<dyn Jobs>,
    clock: Arc<dyn Clock>,
    limits: QueryLimits,
    /// For what clients ask before they query, which needs no statement.
    planner: Arc<Planner>,
    permits: Arc<Semaphore>,
    place: Place,
}

/// Where statements are read and run.
enum Place {
    /// In threads of their own.
    Here(QueryRuntime),
    /// In processes of their own.
    Apart(Arc<Pool>),
}

impl Queries {
    /// Answers over `jobs`.
    pub(super) fn new(
        jobs: Arc<dyn Jobs>,
        clock: Arc<dyn Clock>,
        settings: &FlightSettings,
    ) -> Result<Self, QueryError> {
        let limits = settings.limits;
        let place = match &settings.process {
            Some(program) => Place::Apart(Pool::new(program.clone(), limits)),
            None => Place::Here(QueryRuntime::new()?),
        };
        Ok(Self {
            jobs,
            clock,
            limits,
            planner: Arc::new(Planner::new()?),
            permits: Arc::new(Semaphore::new(limits.running_max)),
            place,
        })
    }

    /// The tables as of now.
    pub(super) fn catalog(&self) -> Result<Catalog, QueryError> {
        self.planner.catalog(&self.moment(self.jobs.snapshots()))
    }

    /// What `question` will give, without running it.
    pub(super) async fn declare(&self, question: &Question) -> Result<Declared, QueryError> {
        let deadline = Instant::now() + self.limits.time_max;
        let declared = async {
            let mut tried = 1;
            loop {
                match self.declare_once(question, deadline).await {
                    Err(error) if error.is_unavailable() && tried < SNAPSHOTS_MAX => tried += 1,
                    done => return done,
                }
            }
        };
        timeout_at(deadline, declared).await.unwrap_or_else(|_| Err(self.too_long()))
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
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            QueryError::exhausted(format!(
                "{} queries are running, and no more may at once; try again",
                self.limits.running_max
            ))
        })?;
        let started = async {
            let permit = Arc::new(permit);
            let mut tried = 1;
            loop {
                match self.run_once(question, deadline, Arc::clone(&permit)).await {
                    Err(error) if error.is_unavailable() && tried < SNAPSHOTS_MAX => tried += 1,
                    done => return done,
                }
            }
        };
        timeout_at(deadline, started).await.unwrap_or_else(|_| Err(self.too_long()))
    }

    async fn declare_once(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Declared, QueryError> {
        let snapshots = self.jobs.snapshots();
        match &self.place {
            Place::Here(runtime) => {
                let (planner, moment) = (Arc::clone(&self.planner), self.moment(snapshots));
                let question = question.clone();
                runtime.run(async move { planner.declare(&moment, &question).await }).await
            }
            Place::Apart(pool) => {
                pool.declare(&snapshots, self.clock.now_ms(), question, deadline).await
            }
        }
    }

    /// The rows of `question` over one moment. The place among the queries is kept by what works,
    /// not by who waits: threads that a query still holds are not free.
    async fn run_once(
        &self,
        question: &Question,
        deadline: Instant,
        permit: super::running::Permit,
    ) -> Result<Running, QueryError> {
        let snapshots = self.jobs.snapshots();
        let end = (deadline, self.too_long());
        match &self.place {
            Place::Here(runtime) => {
                let (planner, moment) = (Arc::clone(&self.planner), self.moment(snapshots));
                let (question, held) = (question.clone(), Arc::clone(&permit));
                let started = runtime.run(async move {
                    let _held = held;
                    planner.start(&moment, &question).await
                });
                Ok(Running::here(started.await?, runtime.handle(), permit, end))
            }
            Place::Apart(pool) => {
                let asked = pool.run(&snapshots, self.clock.now_ms(), question, deadline).await?;
                Ok(Running::apart(asked, permit, end))
            }
        }
    }

    fn moment(&self, snapshots: Vec<JobSnapshot>) -> Moment {
        Moment {
            jobs: snapshots.into_iter().map(QueryJob::here).map(Arc::new).collect(),
            now_ms: self.clock.now_ms(),
            memory_bytes_max: self.limits.memory_bytes_max,
        }
    }

    fn too_long(&self) -> QueryError {
        QueryError::deadline(format!(
            "the query took longer than {} s, which is the most a query may; ask for less of it, \
             such as fewer windows or one partition",
            self.limits.time_max.as_secs_f64()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::array::{ArrayRef, RecordBatch};
    use datafusion::arrow::util::display::array_value_to_string;
    use futures::StreamExt;
    use tidegauge_commitlog::SystemClock;
    use tonic::{Code, Status};

    use super::*;

    struct NoJobs;

    impl Jobs for NoJobs {
        fn snapshots(&self) -> Vec<JobSnapshot> {
            vec![]
        }
    }

    #[tokio::test]
    async fn what_belongs_to_a_query_takes_no_longer_than_one() {
        let limits = QueryLimits { time_max: Duration::from_millis(20), ..QueryLimits::default() };
        let settings = FlightSettings { limits, ..FlightSettings::default() };
        let queries = Queries::new(Arc::new(NoJobs), Arc::new(SystemClock), &settings).unwrap();
        let stalled = std::future::pending::<Result<(), QueryError>>();
        let error = Status::from(queries.in_time(stalled).await.unwrap_err());
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(queries.in_time(async { Ok(1) }).await.is_ok());
    }

    /// The rows of `sql` as text, sorted.
    async fn answer(sql: &str) -> Vec<String> {
        let limits = QueryLimits::default();
        let settings = FlightSettings { limits, ..FlightSettings::default() };
        let queries = Queries::new(Arc::new(NoJobs), Arc::new(SystemClock), &settings).unwrap();
        let question = Question { sql: sql.to_owned(), parameters: None };
        let started = queries.planner.start(&queries.moment(vec![]), &question).await;
        let started = started.unwrap_or_else(|error| panic!("{sql}\n{}", error.message()));
        let batches: Vec<RecordBatch> = started.rows.map(Result::unwrap).collect().await;
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| array_value_to_string(column, row).unwrap();
                rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" | "));
            }
        }
        rows.sort();
        rows
    }

    #[tokio::test]
    async fn names_that_are_used_again_mean_each_what_they_say() {
        let six = "(SELECT n AS x FROM (VALUES (6)) AS t(n))";
        let tables = "WITH x AS (SELECT * FROM (VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)) AS v(a, k)), \
                      y AS (SELECT * FROM (VALUES (5, 9), (7, 9)) AS v(a, k)) ";
        let cases = [
            (format!("SELECT x + x AS x FROM (SELECT x + x AS x FROM {six})"), vec!["24"]),
            (
                format!(
                    "SELECT y AS x FROM (SELECT x + x AS y FROM (SELECT x + x AS x FROM {six}))"
                ),
                vec!["24"],
            ),
            (
                format!("SELECT max(x) AS x FROM (SELECT x + 1 AS x FROM {six}) HAVING max(x) > 6"),
                vec!["7"],
            ),
            (
                format!(
                    "SELECT x FROM (SELECT x + 0 AS x FROM {six}) WHERE x IN (SELECT x FROM {six})"
                ),
                vec!["6"],
            ),
            (
                format!(
                    "{tables}SELECT y.k FROM x RIGHT JOIN (SELECT * FROM y WHERE a > 4) AS y ON x.a = y.a \
                     WHERE x.k IS NULL"
                ),
                vec!["9"],
            ),
            (
                format!(
                    "{tables}SELECT a FROM y WHERE CASE WHEN a > 5 THEN a END NOT IN (SELECT a FROM x)"
                ),
                vec!["7"],
            ),
            (
                format!(
                    "{tables}SELECT a FROM (SELECT nullif(a, 5) AS a FROM y) AS z WHERE a NOT IN (SELECT a \
                     FROM x) OR a = 1"
                ),
                vec!["7"],
            ),
        ];
        for (sql, rows) in cases {
            assert_eq!(answer(&sql).await, rows, "{sql}");
        }
    }
}
