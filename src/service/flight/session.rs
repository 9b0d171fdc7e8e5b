//! The session that queries are planned and run in: DataFusion's functions and our own, no file
//! formats to name, no way to memory but the query's pool, and no disk.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::common::Result;
use datafusion::execution::context::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::sql::ValueRule;

/// The catalog that names are looked up in.
pub(super) const CATALOG: &str = "tidegauge";
/// The schema of committed results, where a name has none.
pub(super) const RESULTS: &str = "results";
/// The schema of open windows.
pub(super) const LIVE: &str = "live";
/// The schema of the jobs themselves.
pub(super) const SYSTEM: &str = "system";

/// Functions that make one value of any size out of a number, which no memory pool sees.
const UNBOUNDED_FUNCTIONS: [&str; 7] =
    ["repeat", "lpad", "rpad", "range", "generate_series", "array_repeat", "array_resize"];
/// How many of the largest consumers an error about memory names.
const CONSUMERS_NAMED: usize = 3;

/// What every query's session begins as.
pub(super) fn template() -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, RESULTS);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .build_arc()?;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_file_formats(vec![])
        .with_table_factories(Default::default())
        .with_physical_optimizer_rules(crate::sql::physical_rules())
        .build();
    for name in UNBOUNDED_FUNCTIONS {
        state.deregister_udf(name)?;
    }
    for function in tidegauge_udfs::all_scalars() {
        state.register_udf(Arc::new(function))?;
    }
    for function in tidegauge_udfs::all_aggregates() {
        state.register_udaf(Arc::new(function))?;
    }
    // The floats of files are as whoever wrote them left them; and a filter on what is made of them
    // prunes nothing by bounds that leave out NaN.
    state.add_analyzer_rule(Arc::new(ValueRule::over_any()));
    Ok(state)
}

/// One query's session: a memory pool and a catalog of its own, and `now()` at the clock.
pub(super) fn query_session(
    template: &SessionState,
    catalogs: Arc<MemoryCatalogProviderList>,
    memory_bytes_max: usize,
    clock_ms: i64,
) -> SessionState {
    let named = NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory_bytes_max), named);
    let shared: &RuntimeEnv = template.runtime_env();
    let runtime = RuntimeEnv { memory_pool: Arc::new(pool), ..shared.clone() };
    let state = SessionStateBuilder::new_from_existing(template.clone())
        .with_catalog_list(catalogs)
        .with_runtime_env(Arc::new(runtime))
        .build();
    crate::sql::at_clock(&state, clock_ms)
}
