//! For tests: a statement of a job to its plan, over a source `flows`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::{SessionSettings, SqlError, WindowNode, parse_script, session_state, time_type};

/// Plans and analyses the query of `INSERT INTO out` followed by `query` in the next line.
pub(super) async fn plan(query: &str) -> Result<LogicalPlan, SqlError> {
    let settings = SessionSettings { partitions: 1, runtime: Arc::default() };
    let context = SessionContext::new_with_state(session_state(&settings));
    let columns = [
        ("ts", time_type()),
        ("src", DataType::Utf8),
        ("Dst", DataType::Utf8),
        ("by", DataType::Utf8),
        ("bytes", DataType::Int64),
    ];
    let fields: Vec<Field> =
        columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    let flows = Arc::new(EmptyTable::new(Arc::new(Schema::new(fields))));
    context.register_table("flows", flows).unwrap();
    let mut statements = parse_script(&format!("INSERT INTO out\n{query}"))?;
    let statement = statements.remove(0);
    let query = Statement::Statement(Box::new(SqlStatement::Query(statement.query)));
    let state = context.state();
    let refused = |error| SqlError::from_planner(&error, statement.line);
    let plan = state.statement_to_plan(query).await.map_err(refused)?;
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).map_err(refused)
}

/// The windows of FROM in the plan of `SELECT * FROM` followed by `from`, outer ones first.
pub(super) async fn windows_of(from: &str) -> Result<Vec<WindowNode>, SqlError> {
    let plan = plan(&format!("SELECT * FROM {from}")).await?;
    let mut nodes = Vec::new();
    plan.apply(|plan| {
        if let LogicalPlan::Extension(extension) = plan
            && let Some(node) = extension.node.as_any().downcast_ref::<WindowNode>()
        {
            nodes.push(node.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    Ok(nodes)
}
