//! Which expressions may fail for some values: what is not known to answer for all of them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// Functions that have an answer for every value.
const TOTAL_FUNCTIONS: [&str; 26] = [
    "__canonical",
    "__order_key",
    "__order_value",
    "__pane_start",
    "__start_of_window",
    "__window_starts",
    "btrim",
    "character_length",
    "coalesce",
    "concat",
    "contains",
    "date_trunc",
    "ends_with",
    "get_field",
    "greatest",
    "least",
    "lower",
    "ltrim",
    "named_struct",
    "nullif",
    "nvl",
    "rtrim",
    "starts_with",
    "struct",
    "trunc",
    "upper",
];

/// Whether `expr` may fail for some row of `schema`.
pub(super) fn may_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let itself = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let operand = binary.left().data_type(schema).ok();
        !is_total(*binary.op(), operand.as_ref())
    } else if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        !TOTAL_FUNCTIONS.contains(&call.name())
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema);
        !from.is_ok_and(|from| is_total_cast(&from, cast.cast_type()))
    } else {
        !(expr.is::<Column>()
            || expr.is::<Literal>()
            || expr.is::<IsNullExpr>()
            || expr.is::<IsNotNullExpr>()
            || expr.is::<NotExpr>()
            || expr.is::<CaseExpr>()
            || expr.is::<InListExpr>()
            || expr.is::<LikeExpr>()
            || expr.is::<TryCastExpr>())
    };
    itself || expr.children().into_iter().any(|child| may_fail(child, schema))
}

/// As [`may_fail`], of an expression that is not planned yet.
///
/// # Errors
/// When it has no type.
pub fn expr_may_fail(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = false;
    expr.apply(|expr| {
        let itself = match expr {
            Expr::BinaryExpr(binary) => !is_total(binary.op, Some(&binary.left.get_type(schema)?)),
            Expr::ScalarFunction(call) => !TOTAL_FUNCTIONS.contains(&call.func.name()),
            Expr::Cast(cast) => {
                !is_total_cast(&cast.expr.get_type(schema)?, &expr.get_type(schema)?)
            }
            Expr::Negative(_) | Expr::ScalarVariable(..) | Expr::Placeholder(_) => true,
            _ => false,
        };
        found |= itself;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether `operator` has an answer for all values of `operand`. Integers go round in DataFusion
/// where they are added, subtracted or multiplied.
fn is_total(operator: Operator, operand: Option<&DataType>) -> bool {
    use Operator::{
        And, Divide, Eq, Gt, GtEq, ILikeMatch, IsDistinctFrom, IsNotDistinctFrom, LikeMatch, Lt,
        LtEq, Minus, Modulo, Multiply, NotEq, NotILikeMatch, NotLikeMatch, Or, Plus, StringConcat,
    };
    let is_float = operand.is_some_and(DataType::is_floating);
    match operator {
        And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
        | LikeMatch | ILikeMatch | NotLikeMatch | NotILikeMatch | StringConcat => true,
        Plus | Minus | Multiply => is_float || operand.is_some_and(DataType::is_integer),
        Divide | Modulo => is_float,
        _ => false,
    }
}

fn is_total_cast(from: &DataType, to: &DataType) -> bool {
    let width = |of: &DataType| of.primitive_width().unwrap_or_default();
    let is_text =
        |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    from == to
        || from.is_integer() && to.is_floating()
        || from.is_signed_integer() && to.is_signed_integer() && width(from) <= width(to)
        || from.is_unsigned_integer() && to.is_integer() && width(from) < width(to)
        || from.is_floating() && to.is_floating()
        || is_text(to) && (from.is_primitive() || is_text(from))
        || matches!((from, to), (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if a == b)
}
