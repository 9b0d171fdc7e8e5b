//! From a stage's rows back to the aggregate that it stands for: the same columns, with the same
//! names, qualifiers and types, so that the query above does not notice.

use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, col, lit,
};

use super::template::{aggregate_name, key_name};
use super::window_values::{Bounds, typed, window_value};
use crate::sql::WindowValue;

/// Where one of the aggregate's keys comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum OutputKey {
    /// The stage's window.
    Window(WindowValue),
    /// The stage's key at a position.
    Key(usize),
}

/// Projects `leaf` to the schema of `aggregate`.
pub(super) fn output_projection(
    leaf: LogicalPlan,
    aggregate: &Aggregate,
    keys: &[OutputKey],
    bounds: &Bounds,
) -> Result<LogicalPlan> {
    let fields: Vec<_> = aggregate.schema.iter().collect();
    let has_grouping_id = fields.len() > keys.len() + aggregate.aggr_expr.len();
    let mut values: Vec<Expr> = keys
        .iter()
        .map(|key| match key {
            OutputKey::Window(value) => window_value(bounds, *value),
            OutputKey::Key(position) => col(key_name(*position)),
        })
        .collect();
    if has_grouping_id {
        values.push(grouping_id(keys.len()));
    }
    values.extend((0..aggregate.aggr_expr.len()).map(|position| col(aggregate_name(position))));
    if values.len() != fields.len() {
        return plan_err!("the aggregate has {} columns, not {}", fields.len(), values.len());
    }
    let exprs = values
        .into_iter()
        .zip(fields)
        .map(|(value, (qualifier, field))| {
            let from = value.get_type(leaf.schema().as_ref())?;
            let value = typed(value, &from, field.data_type());
            Ok(value.alias_qualified(qualifier.cloned(), field.name()))
        })
        .collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(leaf).project(exprs)?.build()
}

/// The aggregate's own grouping id. The stage's has one key more, the pane, at the top of the
/// bitmask; above the mask stands the number of a repeated set.
fn grouping_id(keys: usize) -> Expr {
    let id = datafusion::logical_expr::cast(
        Expr::Column(Column::from_name(Aggregate::INTERNAL_GROUPING_ID)),
        datafusion::arrow::datatypes::DataType::Int64,
    );
    let whole = |bits: usize| lit(ScalarValue::Int64(Some(1_i64 << bits.min(62))));
    let mask = id.clone() % whole(keys);
    let ordinal = id / whole(keys + 1);
    mask + ordinal * whole(keys)
}
