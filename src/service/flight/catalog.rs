//! The tables of one moment: what each job of one snapshot has, under the names of queries.
//!
//! A sink is `results.<sink>`, and its open windows are `live.<sink>`. Where two jobs have a sink
//! of one name, the name alone is an error, and the sinks are `results."<job>.<sink>"`. That longer
//! name is understood for every sink, so that a query that uses it does not mind a second job.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::common::{Result, plan_err};

use super::epochs_table::EpochsTable;
use super::jobs_table::{jobs_rows, jobs_schema};
use super::layout::Layout;
use super::live_table::LiveTable;
use super::query_job::QueryJob;
use super::results_table::ResultsTable;
use super::session::{CATALOG, LIVE, RESULTS, SYSTEM};
use super::stores::Stores;

/// How many tables an error lists.
const LISTED_MAX: usize = 20;

/// The schemas by name.
#[derive(Debug)]
pub(super) struct Catalog {
    schemas: BTreeMap<&'static str, Arc<Tables>>,
}

/// The tables of one schema.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By the names that are shown.
    listed: BTreeMap<String, Arc<dyn TableProvider>>,
    /// By `<job>.<sink>`.
    qualified: BTreeMap<String, Arc<dyn TableProvider>>,
    /// Names that several jobs have, with the longer ones.
    ambiguous: BTreeMap<String, Vec<String>>,
}

/// A table that is known by its job and its sink.
struct OfSink {
    job: String,
    sink: String,
    table: Arc<dyn TableProvider>,
}

impl Catalog {
    /// The catalog of `jobs` at `now_ms`.
    pub(super) fn new(jobs: &[Arc<QueryJob>], stores: &Arc<Stores>, now_ms: i64) -> Result<Self> {
        let (mut results, mut live) = (Vec::new(), Vec::new());
        for job in jobs {
            for output in &job.outputs {
                let Some(sink) = job.sink(&output.sink) else { continue };
                let layout = Layout::new(&output.schema, &sink.partition_by)?;
                let named = |table| {
                    let (job, sink) = (job.spec().name.clone(), sink.name.clone());
                    OfSink { job, sink, table }
                };
                if output.has_windows {
                    let schema = Arc::clone(&layout.table);
                    let table = LiveTable::new(Arc::clone(job), sink.name.clone(), schema);
                    live.push(named(Arc::new(table)));
                }
                let (job, stores) = (Arc::clone(job), Arc::clone(stores));
                let table = ResultsTable::new(job, sink.clone(), layout, stores);
                results.push(named(Arc::new(table)));
            }
        }
        let rows = jobs_rows(jobs, now_ms)?;
        let (results, live) = (Tables::of_sinks(results), Tables::of_sinks(live));
        let system = Tables::of_process([
            ("jobs", Arc::new(MemTable::try_new(jobs_schema(), vec![vec![rows]])?) as _),
            ("epochs", Arc::new(EpochsTable::new(jobs.to_vec(), Arc::clone(stores))) as _),
        ]);
        let schemas = [(RESULTS, results), (LIVE, live), (SYSTEM, system)];
        Ok(Self {
            schemas: schemas.map(|(name, tables)| (name, Arc::new(tables))).into_iter().collect(),
        })
    }

    /// As DataFusion looks names up: this catalog and no other.
    pub(super) fn into_list(self: Arc<Self>) -> Arc<MemoryCatalogProviderList> {
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOG.to_owned(), self);
        Arc::new(list)
    }

    /// Every table that is shown, by schema and name.
    pub(super) fn tables(
        &self,
    ) -> impl Iterator<Item = (&'static str, &str, &Arc<dyn TableProvider>)> {
        self.schemas.iter().flat_map(|(schema, tables)| {
            tables.listed.iter().map(|(name, table)| (*schema, name.as_str(), table))
        })
    }

    /// What to write instead of a table that there is not.
    pub(super) fn hint(&self) -> String {
        let quoted = |name: &str| match name.contains('.') {
            true => format!("\"{name}\""),
            false => name.to_owned(),
        };
        let mut names: Vec<String> =
            self.tables().map(|(schema, name, _)| format!("{schema}.{}", quoted(name))).collect();
        let more = names.len().saturating_sub(LISTED_MAX);
        names.truncate(LISTED_MAX);
        match more {
            0 => format!("there are {}", names.join(", ")),
            more => format!("there are {} and {more} more", names.join(", ")),
        }
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().map(|name| (*name).to_owned()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let tables = Arc::clone(self.schemas.get(name)?);
        Some(tables)
    }
}

impl Tables {
    /// Tables by job and sink.
    fn of_sinks(tables: Vec<OfSink>) -> Self {
        let mut by_sink: BTreeMap<String, BTreeMap<String, _>> = BTreeMap::new();
        for OfSink { job, sink, table } in tables {
            let name = format!("{job}.{sink}");
            by_sink.entry(sink).or_default().insert(name, table);
        }
        let mut all = Self::default();
        for (sink, tables) in by_sink {
            if tables.len() > 1 {
                all.ambiguous.insert(sink, tables.keys().cloned().collect());
                all.listed.extend(tables.clone());
            } else {
                all.listed.extend(tables.values().map(|table| (sink.clone(), Arc::clone(table))));
            }
            all.qualified.extend(tables);
        }
        all
    }

    fn of_process<const N: usize>(tables: [(&str, Arc<dyn TableProvider>); N]) -> Self {
        let listed = tables.into_iter().map(|(name, table)| (name.to_owned(), table)).collect();
        Self { listed, ..Self::default() }
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.listed.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(names) = self.ambiguous.get(name) {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            return plan_err!("several jobs have a sink {name}; write {}", names.join(" or "));
        }
        Ok(self.listed.get(name).or_else(|| self.qualified.get(name)).map(Arc::clone))
    }

    fn table_exist(&self, name: &str) -> bool {
        [&self.listed, &self.qualified].iter().any(|tables| tables.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::catalog::MemTable;

    use super::*;

    fn table(job: &str, sink: &str) -> OfSink {
        let table = Arc::new(MemTable::try_new(jobs_schema(), vec![vec![]]).unwrap());
        OfSink { job: job.to_owned(), sink: sink.to_owned(), table }
    }

    #[tokio::test]
    async fn a_name_of_two_jobs_is_an_error_that_says_the_longer_names() {
        let tables = Tables::of_sinks(vec![
            table("a", "findings"),
            table("b", "findings"),
            table("b", "minutes"),
        ]);
        assert_eq!(tables.table_names(), ["a.findings", "b.findings", "minutes"]);
        let error = tables.table("findings").await.unwrap_err().strip_backtrace();
        assert!(
            error.ends_with("a sink findings; write \"a.findings\" or \"b.findings\""),
            "{error}"
        );
        for name in ["a.findings", "minutes", "b.minutes"] {
            assert!(tables.table(name).await.unwrap().is_some(), "{name}");
        }
        assert!(tables.table("a.minutes").await.unwrap().is_none());
    }
}
