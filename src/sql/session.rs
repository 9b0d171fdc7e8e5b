//! The DataFusion session that jobs are planned and run in: its settings, its functions, the
//! window table functions, and the clock of an epoch.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::config::Dialect;
use datafusion::execution::context::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionConfig;

use super::folder_value::folder_value;
use super::pane_function::pane_functions;
use super::repeated_names::physical_rules;
use super::struct_function::struct_function;
use super::values::{ValueRule, value_aggregates, value_functions};
use super::window_function::window_functions;
use super::window_relation::WindowRelationPlanner;

/// What a session is made of.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// How many partitions a plan runs in.
    pub partitions: usize,
    /// Memory pool and spill files.
    pub runtime: Arc<RuntimeEnv>,
}

/// A session with all of Tidegauge's functions and window forms.
pub fn session_state(settings: &SessionSettings) -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(settings.partitions.max(1));
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::Generic;
    options.sql_parser.collect_spans = true;
    // A limit pushed into an aggregate would cut partial states, which hold no answers yet.
    options.optimizer.enable_topk_aggregation = false;
    options.optimizer.enable_distinct_aggregation_soft_limit = false;
    // Joins and files of an epoch are small and their statistics unknown: dynamic filters between
    // them cost more than they save.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.execution.parquet.pushdown_filters = false;
    // Above an aggregate that two columns show, it makes a projection of two columns of one name,
    // which no plan may have; and w.start is no cheaper below.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // A subquery's value would have to reach the tasks of other machines: it becomes a join.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(&settings.runtime))
        .with_default_features()
        .with_relation_planners(vec![Arc::new(WindowRelationPlanner)])
        .with_physical_optimizer_rules(physical_rules())
        .build();
    register_functions(&mut state);
    state.add_analyzer_rule(Arc::new(ValueRule::over_canonical()));
    state
}

/// The same session with `now()` standing at the epoch's committed clock.
pub fn at_clock(state: &SessionState, clock_ms: i64) -> SessionState {
    let mut state = state.clone();
    let clock: Option<DateTime<Utc>> = DateTime::from_timestamp_millis(clock_ms);
    state.execution_props_mut().query_execution_start_time = clock;
    state
}

/// Gives a session all functions that a query may call.
pub fn register_functions(state: &mut SessionState) {
    // The only one that takes the place of another.
    let replaced = state.register_udf(Arc::new(struct_function()));
    log_clash(replaced.map(|_| None));
    let scalars = window_functions().into_iter().chain(pane_functions());
    register(state, scalars.chain(tidegauge_udfs::all_scalars()), tidegauge_udfs::all_aggregates());
}

/// Gives a session the functions that plans alone use, so that it can take in plans: what they are
/// called with there is what they were made for.
pub fn register_plan_functions(state: &mut SessionState) {
    register(state, value_functions().into_iter().chain([folder_value()]), value_aggregates());
}

fn register(
    state: &mut SessionState,
    scalars: impl IntoIterator<Item = ScalarUDF>,
    aggregates: impl IntoIterator<Item = AggregateUDF>,
) {
    for function in scalars {
        let replaced = state.register_udf(Arc::new(function));
        log_clash(replaced.map(|old| old.map(|old| old.name().to_owned())));
    }
    for function in aggregates {
        let replaced = state.register_udaf(Arc::new(function));
        log_clash(replaced.map(|old| old.map(|old| old.name().to_owned())));
    }
}

fn log_clash(registered: datafusion::common::Result<Option<String>>) {
    match registered {
        Ok(None) => {}
        Ok(Some(name)) => tracing::warn!(name, "a function of this name was replaced"),
        Err(error) => tracing::error!(%error, "a function could not be registered"),
    }
}
