//! A job's statements to its stages and queries, with every problem found on the way.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::compute::can_cast_types;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::ViewTable;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Query as SqlQuery, Statement as SqlStatement, visit_relations,
};
use tidegauge_commitlog::names::partition_folder;

use super::cut::{Cut, cut};
use super::feed::Feed;
use super::input::Input;
use super::lift::lifted_plan;
use super::nature::Nature;
use super::query::{Prepared, Query, REVISION, arrow_schema, sink_projection, with_one_text};
use super::stage::Stage;
use super::subqueries::flattened;
use crate::operator::StreamTable;
use crate::sql::{
    JobStatement, Refusal, SqlError, StatementKind, check_plan_size, may_be_no_folder,
    with_meanings_apart,
};

/// A source as the planner sees it.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// Its name in SQL.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The column that holds the event time, and the fields of structs below it.
    pub event_time: Vec<String>,
    /// How long after its end a window may still change, microseconds.
    pub allowed_lateness_us: i64,
}

/// A sink as the planner sees it.
#[derive(Debug, Clone)]
pub struct SinkTable {
    /// Its name in SQL.
    pub name: String,
    /// The columns that make its folders.
    pub partition_by: Vec<String>,
}

/// A stage or a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// The stage of this identity.
    Stage(String),
    /// The feed of this identity.
    Feed(String),
}

/// What a job runs.
#[derive(Debug, Clone, Default)]
pub struct JobPlan {
    /// The stages by identity.
    pub stages: BTreeMap<String, Stage>,
    /// What stages emit for other stages, by identity.
    pub feeds: BTreeMap<String, Feed>,
    /// Stages and feeds, each after all that it waits for.
    pub order: Vec<Unit>,
    /// The INSERTs in the order of the text.
    pub queries: Vec<Query>,
    /// The ingest plan of each stage, by identity.
    pub(crate) ingest: BTreeMap<String, Prepared>,
}

impl JobPlan {
    /// Plans `statements` over `sources` into `sinks`. The tables are registered in `state`.
    ///
    /// # Errors
    /// Every statement that cannot be planned, each with its place.
    pub async fn new(
        state: &SessionState,
        sources: &[SourceTable],
        sinks: &[SinkTable],
        statements: &[JobStatement],
    ) -> std::result::Result<Self, Vec<SqlError>> {
        let mut planner = Planner::new(state, sources, sinks).map_err(|error| vec![error])?;
        for statement in statements {
            planner.statement(statement).await;
        }
        planner.finish()
    }

    /// The sources that the rows of `input` come from, through whatever feeds.
    pub fn sources_of<'a>(&'a self, input: &'a Input) -> BTreeSet<&'a str> {
        match input {
            Input::Source(name) => [name.as_str()].into(),
            Input::Feed(id) => {
                let stages = self.feeds.get(id).into_iter().flat_map(|feed| &feed.stages);
                let stages = stages.filter_map(|id| self.stages.get(id));
                stages.flat_map(|stage| self.sources_of(&stage.input)).collect()
            }
        }
    }

    /// The stages by what reads them together, in the order of their inputs: those of one query, and
    /// of all that have a stage in common. They wait for the same streams and close as one.
    pub fn groups(&self) -> Vec<BTreeSet<&str>> {
        let mut groups: Vec<BTreeSet<&str>> = Vec::new();
        for unit in &self.order {
            let Unit::Stage(id) = unit else { continue };
            if groups.iter().any(|group| group.contains(id.as_str())) {
                continue;
            }
            let mut group: BTreeSet<&str> = BTreeSet::new();
            let mut found = BTreeSet::from([id.as_str()]);
            while group != found {
                group.clone_from(&found);
                let feeds = self.feeds.values().map(|feed| Vec::from_iter(&feed.stages));
                let readers =
                    feeds.chain(self.queries.iter().map(|query| query.stages.iter().collect()));
                for read in readers {
                    if read.iter().any(|id| group.contains(id.as_str())) {
                        found.extend(read.into_iter().map(String::as_str));
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// Those of `stages` and all that feed them.
    pub fn all_stages(&self, stages: &[String]) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<String> = stages.to_vec();
        while let Some(id) = open.pop() {
            let input = self.stages.get(&id).map(|stage| stage.input.name());
            if let Some(feed) = input.and_then(|input| self.feeds.get(input)) {
                open.extend(feed.stages.iter().cloned());
            }
            all.insert(id);
        }
        all
    }

    /// The sources that at least one query reads.
    pub fn sources_used(&self) -> HashSet<&str> {
        self.queries.iter().flat_map(|query| query.sources.iter().map(String::as_str)).collect()
    }
}

struct Planner<'a> {
    state: &'a SessionState,
    sinks: &'a [SinkTable],
    event_times: BTreeMap<String, Vec<String>>,
    /// By source, where there is any.
    lateness_us: BTreeMap<String, i64>,
    views: BTreeMap<String, Box<SqlQuery>>,
    /// The views that were refused, in lower case.
    refused: BTreeSet<String>,
    plan: JobPlan,
    problems: Vec<SqlError>,
}

impl<'a> Planner<'a> {
    fn new(
        state: &'a SessionState,
        sources: &[SourceTable],
        sinks: &'a [SinkTable],
    ) -> std::result::Result<Self, SqlError> {
        let mut event_times = BTreeMap::new();
        for source in sources {
            let table = Arc::new(StreamTable::new(Arc::clone(&source.schema)));
            register(state, &source.name, table)
                .map_err(|error| SqlError::from_planner(&error, 1))?;
            event_times.insert(source.name.clone(), source.event_time.clone());
        }
        let lateness_us = sources
            .iter()
            .filter(|source| source.allowed_lateness_us > 0)
            .map(|source| (source.name.clone(), source.allowed_lateness_us))
            .collect();
        let plan = JobPlan::default();
        Ok(Self {
            state,
            sinks,
            event_times,
            lateness_us,
            views: BTreeMap::new(),
            refused: BTreeSet::new(),
            plan,
            problems: vec![],
        })
    }

    async fn statement(&mut self, statement: &JobStatement) {
        if self.reads_refused(&statement.query) {
            // What is wrong was said of the view.
            self.refuse_view(statement);
            return;
        }
        let planned = match &statement.kind {
            StatementKind::View { name, columns } => self.view(statement, name, columns).await,
            StatementKind::Insert { sink } => self.insert(statement, sink).await,
        };
        if let Err(error) = planned {
            self.refuse_view(statement);
            let place = Refusal::of(&error).and_then(|refusal| {
                let mut texts = self.views_of(&statement.query);
                texts.push(&statement.query);
                refusal.line_in(&texts)
            });
            self.problems.push(SqlError::from_planner(&error, place.unwrap_or(statement.line)));
        }
    }

    /// Whether `query` reads a view that was refused.
    fn reads_refused(&self, query: &SqlQuery) -> bool {
        relations_of(query).iter().any(|name| self.refused.contains(name))
    }

    /// Remembers that the view of `statement` is not there, unless another of its name is.
    fn refuse_view(&mut self, statement: &JobStatement) {
        if let StatementKind::View { name, .. } = &statement.kind
            && !self.event_times.contains_key(name)
            && !self.views.contains_key(name)
        {
            self.refused.insert(name.to_lowercase());
        }
    }

    /// The queries of all views that `query` reads, each after those that it reads itself.
    fn views_of(&self, query: &SqlQuery) -> Vec<&SqlQuery> {
        let names = relations_of(query);
        let mut texts: Vec<&SqlQuery> = Vec::new();
        for (name, text) in &self.views {
            if names.contains(&name.to_lowercase()) && *text.as_ref() != *query {
                let below = self.views_of(text).into_iter().chain([text.as_ref()]);
                let new: Vec<&SqlQuery> = below.filter(|one| !texts.contains(one)).collect();
                texts.extend(new);
            }
        }
        texts
    }

    async fn view(
        &mut self,
        statement: &JobStatement,
        name: &str,
        columns: &[String],
    ) -> Result<()> {
        let taken = self.event_times.contains_key(name) || self.views.contains_key(name);
        if taken {
            return datafusion::common::plan_err!(
                "there is a source or view {name} already; give this view another name"
            );
        }
        let mut plan = self.query(statement).await?;
        if !columns.is_empty() {
            plan = renamed(plan, columns)?;
        }
        self.views.insert(name.to_owned(), statement.query.clone());
        register(self.state, name, Arc::new(ViewTable::new(plan, None)))
    }

    async fn insert(&mut self, statement: &JobStatement, sink: &str) -> Result<()> {
        let Some(sink) = self.sinks.iter().find(|known| known.name == sink) else {
            let known: Vec<&str> = self.sinks.iter().map(|sink| sink.name.as_str()).collect();
            return datafusion::common::plan_err!(
                "the job has no sink {sink}; it has {}",
                known.join(", ")
            );
        };
        let plan = self.query(statement).await?;
        let analyzed = self.state.analyzer().execute_and_check(
            plan,
            self.state.config_options(),
            |_, _| {},
        )?;
        let analyzed = flattened(self.state, analyzed, &self.event_times)?;
        let cut = cut(self.state, &analyzed, &self.event_times)?;
        let stages: BTreeSet<String> = match &cut.nature {
            Nature::Constant => {
                return datafusion::common::plan_err!(
                    "the query reads no source of the job, so that it would never give a row; write FROM {}",
                    self.event_times.keys().next().map_or("source", String::as_str)
                );
            }
            Nature::Rows(_) => BTreeSet::new(),
            Nature::Closed(closed) => closed.stages.clone(),
        };
        let input = cut.nature.passes().cloned();
        let sources = sources_of(&cut, &input);
        let revises = self.may_revise(&cut, &sources)?;
        let plan = sink_projection(lifted_plan(cut.plan)?)?;
        let logic = plan.display_indent().to_string();
        let plan = with_one_text(plan)?;
        let mut schema = arrow_schema(&plan);
        if revises {
            schema = with_revision(&schema)?;
        }
        check_partitions(sink, &schema)?;
        let prepared = Prepared::new(self.state, plan)?;
        self.check_same_schema(&sink.name, &schema)?;
        let own_stages: Vec<String> = cut.stages.iter().map(|stage| stage.id.clone()).collect();
        let own_feeds: Vec<String> = cut.feeds.iter().map(|feed| feed.id.clone()).collect();
        for feed in cut.feeds {
            self.plan.feeds.entry(feed.id.clone()).or_insert(feed);
        }
        for mut stage in cut.stages {
            let mine = stage.clocks.iter().filter_map(Input::source);
            let lateness = mine.filter_map(|name| self.lateness_us.get(name).copied());
            stage.lateness_us = lateness.max().unwrap_or_default();
            let ingest = Prepared::new(self.state, stage.ingest_plan())?;
            self.plan.ingest.entry(stage.id.clone()).or_insert(ingest);
            self.plan.stages.entry(stage.id.clone()).or_insert(stage);
        }
        let query = Query {
            sink: sink.name.clone(),
            line: statement.line,
            sources: sources.into_iter().collect(),
            stages: stages.into_iter().collect(),
            input,
            revises,
            folders: folders_of(sink, &schema),
            schema,
            logic,
            prepared,
        };
        self.plan.try_plans(self.state, &query, (&own_stages, &own_feeds)).await?;
        self.plan.queries.push(query);
        Ok(())
    }

    /// Whether late rows may change windows that the query has written.
    fn may_revise(&self, cut: &Cut, sources: &BTreeSet<String>) -> Result<bool> {
        let Some(source) = sources.iter().find(|name| self.lateness_us.contains_key(*name)) else {
            return Ok(false);
        };
        if !cut.feeds.is_empty() {
            return datafusion::common::plan_err!(
                "the source {source} has allowed_lateness, so that its closed windows may change, \
                 but here a second window is put over them, which cannot take back what it was \
                 given; leave allowed_lateness out, or put both windows over the source"
            );
        }
        if cut.stages.iter().any(|stage| stage.sessions.is_some()) {
            return datafusion::common::plan_err!(
                "the source {source} has allowed_lateness, but a session that was emitted cannot \
                 be joined with another by a late row; leave allowed_lateness out and make delay \
                 longer"
            );
        }
        Ok(!cut.stages.is_empty())
    }

    async fn query(&self, statement: &JobStatement) -> Result<LogicalPlan> {
        let query = SqlStatement::Query(statement.query.clone());
        let query = Statement::Statement(Box::new(query));
        let plan = self.state.statement_to_plan(query).await?;
        check_plan_size(&plan).map_err(DataFusionError::Plan)?;
        with_meanings_apart(plan)
    }

    fn check_same_schema(&self, sink: &str, schema: &SchemaRef) -> Result<()> {
        let other = self.plan.queries.iter().find(|query| query.sink == sink);
        let Some(other) = other else { return Ok(()) };
        let columns = |schema: &SchemaRef| -> Vec<String> {
            schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), field.data_type()))
                .collect()
        };
        if columns(&other.schema) == columns(schema) {
            return Ok(());
        }
        datafusion::common::plan_err!(
            "two queries write {sink} with different columns: ({}) in line {}, ({}) here",
            columns(&other.schema).join(", "),
            other.line,
            columns(schema).join(", ")
        )
    }

    fn finish(mut self) -> std::result::Result<JobPlan, Vec<SqlError>> {
        for sink in self.sinks {
            let fed = self.plan.queries.iter().any(|query| query.sink == sink.name);
            if !fed && self.problems.is_empty() {
                self.problems.push(SqlError {
                    line: None,
                    column: None,
                    message: format!(
                        "no statement writes the sink {0}; add INSERT INTO {0} SELECT ...",
                        sink.name
                    ),
                });
            }
        }
        self.plan.order = ordered(&self.plan);
        if self.problems.is_empty() { Ok(self.plan) } else { Err(self.problems) }
    }
}

/// The names of all that `query` reads, in lower case.
fn relations_of(query: &SqlQuery) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let visited = visit_relations(query, |name| {
        names.insert(name.to_string().replace('"', "").to_lowercase());
        ControlFlow::<()>::Continue(())
    });
    match visited {
        ControlFlow::Continue(()) | ControlFlow::Break(()) => names,
    }
}

/// The sources that a query reads, whose rows may pass as they come from `input`.
fn sources_of(cut: &Cut, input: &Option<Input>) -> BTreeSet<String> {
    let clocks = cut.stages.iter().flat_map(|stage| stage.clocks.iter()).chain(input);
    clocks.filter_map(|clock| clock.source().map(str::to_owned)).collect()
}

/// Stages and feeds, each after all that it waits for.
fn ordered(plan: &JobPlan) -> Vec<Unit> {
    let mut order: Vec<Unit> = Vec::new();
    let (mut stages, mut feeds) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let before = order.len();
        for (id, stage) in &plan.stages {
            let is_ready = stage.clocks.iter().all(|clock| match clock {
                Input::Source(_) => true,
                Input::Feed(feed) => feeds.contains(feed),
            });
            if is_ready && stages.insert(id.clone()) {
                order.push(Unit::Stage(id.clone()));
            }
        }
        for (id, feed) in &plan.feeds {
            if feed.stages.is_subset(&stages) && feeds.insert(id.clone()) {
                order.push(Unit::Feed(id.clone()));
            }
        }
        // A feed reads stages that were cut before it, so nothing waits for itself.
        if order.len() == before {
            return order;
        }
    }
}

fn register(
    state: &SessionState,
    name: &str,
    table: Arc<dyn datafusion::catalog::TableProvider>,
) -> Result<()> {
    let reference = datafusion::common::TableReference::bare(name.to_owned());
    state.schema_for_ref(reference)?.register_table(name.to_owned(), table)?;
    Ok(())
}

fn renamed(plan: LogicalPlan, columns: &[String]) -> Result<LogicalPlan> {
    let inner = plan.schema().columns();
    if inner.len() != columns.len() {
        return datafusion::common::plan_err!(
            "the view names {} columns, but its query gives {}; name each of them, or none",
            columns.len(),
            inner.len()
        );
    }
    let exprs: Vec<Expr> = inner
        .into_iter()
        .zip(columns)
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// Bytes of a folder's name that the column's name may take, of 255.
const FOLDER_NAME_MAX: usize = 160;

/// The columns of a sink whose rows may be written again.
fn with_revision(schema: &SchemaRef) -> Result<SchemaRef> {
    if schema.index_of(REVISION).is_ok() {
        return datafusion::common::plan_err!(
            "the column {REVISION} is added where a source has allowed_lateness; name yours \
             otherwise"
        );
    }
    let revision = Arc::new(Field::new(REVISION, DataType::Int32, false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([revision]).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The columns of the partition that may have a value which no folder can be called by.
fn folders_of(sink: &SinkTable, schema: &SchemaRef) -> Vec<String> {
    let may_be_none = |name: &&String| {
        schema.field_with_name(name).is_ok_and(|field| may_be_no_folder(field.data_type()))
    };
    sink.partition_by.iter().filter(may_be_none).cloned().collect()
}

fn check_partitions(sink: &SinkTable, schema: &SchemaRef) -> Result<()> {
    for name in &sink.partition_by {
        let Some((_, field)) = schema.column_with_name(name) else {
            let columns: Vec<&str> =
                schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(DataFusionError::Plan(format!(
                "the sink {} is partitioned by {name}, which the query does not give; it gives {}",
                sink.name,
                columns.join(", ")
            )));
        };
        if field.data_type().is_nested() {
            return Err(DataFusionError::Plan(format!(
                "the sink {} is partitioned by {name}, which is no single value; partition by a field \
                 of it that the query gives as a column",
                sink.name
            )));
        }
        if !can_cast_types(field.data_type(), &DataType::Utf8) {
            return Err(DataFusionError::Plan(format!(
                "the sink {} is partitioned by {name}, which has no text for the name of a folder; \
                 write it as one, as by encode({name}, 'hex')",
                sink.name
            )));
        }
        let bytes = partition_folder(&[(name, Some(""))]).len();
        if bytes > FOLDER_NAME_MAX {
            return Err(DataFusionError::Plan(format!(
                "the sink {} is partitioned by a column whose name takes {bytes} bytes of the name of \
                 a folder, which leaves too few for its value; name it in {FOLDER_NAME_MAX} bytes",
                sink.name
            )));
        }
    }
    if sink.partition_by.len() == schema.fields().len() {
        return Err(DataFusionError::Plan(format!(
            "the sink {} is partitioned by all of its columns; leave one for its files",
            sink.name
        )));
    }
    Ok(())
}
