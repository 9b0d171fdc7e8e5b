//! Fields of structs as SQL has them: `event.timestamp` and `event['timestamp']` are calls of
//! `get_field`, nested or with several names.

use datafusion::common::{Column, Result};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

/// The column that an expression takes a field of, and the names from it to the field; none where it
/// is something else.
pub fn field_path(expr: &Expr) -> Option<(&Column, Vec<String>)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let [base, names @ ..] = args.as_slice() else { return None };
    if func.name() != "get_field" || names.is_empty() {
        return None;
    }
    let (column, mut path) = match base {
        Expr::Column(column) => (column, vec![]),
        base => field_path(base)?,
    };
    for name in names {
        let Expr::Literal(name, _) = name else { return None };
        path.push(name.try_as_str().flatten()?.to_owned());
    }
    Some((column, path))
}

/// The field `name` of a struct.
pub fn field_of(inner: Expr, name: &str) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(get_field(), vec![inner, lit(name)]))
}

/// `plan` with a column more that holds `field`, and that column. It has the name by which SQL
/// calls the field, for what refusals say, unless there is a column of that name.
///
/// # Errors
/// When `field` does not fit `plan`.
pub fn with_column(plan: LogicalPlan, field: Expr) -> Result<(LogicalPlan, Column)> {
    let mut name = match field_path(&field) {
        Some((column, path)) => format!("{}.{}", column.name, path.join(".")),
        None => field.schema_name().to_string(),
    };
    while plan.schema().fields().iter().any(|known| *known.name() == name) {
        name.insert_str(0, "__");
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let exprs: Vec<Expr> = columns.chain([field.alias(&name)]).collect();
    let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
    Ok((plan, Column::new_unqualified(name)))
}

/// `plan` without `column`.
///
/// # Errors
/// Never for a plan that is valid.
pub(super) fn without_column(plan: LogicalPlan, column: &Column) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().filter(|other| other != column);
    let exprs: Vec<Expr> = columns.map(Expr::Column).collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
