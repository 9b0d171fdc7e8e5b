//! Puts the functions of this folder into plans, once types are settled.
//!
//! ```text
//!   SELECT min(r), sum(n), x / y FROM t      t.r is canonical, as every column is
//!
//!   Projection   __order_value(a), __sum_in_range(b), __canonical(x / y)
//!   Aggregate    min(__order_key(r)) a, __wide_sum(n) b
//! ```
//!
//! The invariant: whatever reads a float that is not an operand of arithmetic reads a canonical one.
//! What is computed between is not looked at by any order.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarUDF, TryCast, Window, WindowFunctionDefinition, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::canonical::{self, CANONICAL, canonical_scalar, holds_float};
use super::order_key::{self, ORDER_KEY, ORDER_VALUE, key_type};
use super::wide_sum::{self, wide_type};

/// See the file.
#[derive(Debug)]
pub struct ValueRule {
    functions: Functions,
    /// Whether columns of tables may hold floats that are not canonical.
    foreign_tables: bool,
}

#[derive(Debug)]
struct Functions {
    canonical: Arc<ScalarUDF>,
    order_key: Arc<ScalarUDF>,
    order_value: Arc<ScalarUDF>,
    sum_in_range: Arc<ScalarUDF>,
    wide_sum: Arc<AggregateUDF>,
}

/// Functions that give one of their arguments, or a part of one.
const GIVE_ARGUMENTS: [&str; 18] = [
    CANONICAL,
    ORDER_VALUE,
    "abs",
    "array_element",
    "array_slice",
    "array_sort",
    "array_distinct",
    "coalesce",
    "get_field",
    "greatest",
    "least",
    "make_array",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "struct",
    "map",
];

/// Aggregates and window functions that give one of their arguments, or several.
const GIVE_VALUES: [&str; 10] = [
    "array_agg",
    "cume_dist",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "nth_value",
    "percent_rank",
];

impl ValueRule {
    /// For tables whose floats are canonical.
    pub fn over_canonical() -> Self {
        Self::new(false)
    }

    /// For tables with any floats.
    pub fn over_any() -> Self {
        Self::new(true)
    }

    fn new(foreign_tables: bool) -> Self {
        let functions = Functions {
            canonical: Arc::new(canonical::function()),
            order_key: Arc::new(order_key::key_function()),
            order_value: Arc::new(order_key::value_function()),
            sum_in_range: Arc::new(wide_sum::range_function()),
            wide_sum: Arc::new(wide_sum::sum_function()),
        };
        Self { functions, foreign_tables }
    }

    fn node(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::TableScan(_) if self.foreign_tables => self.scan(plan),
            LogicalPlan::TableScan(_) | LogicalPlan::Extension(_) | LogicalPlan::Unnest(_) => {
                Ok(Transformed::no(plan))
            }
            plan => self.expressions(plan),
        }
    }

    /// Any other node: its expressions in place.
    fn expressions(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let keeps_names = !matches!(plan, LogicalPlan::Sort(_) | LogicalPlan::Repartition(_));
        let names = NamePreserver::new(&plan);
        let settled = plan.map_expressions(|expr| {
            let name = keeps_names.then(|| names.save(&expr));
            let settled = self.settled(expr, &schema, false)?;
            Ok(settled.update_data(|expr| match name {
                Some(name) => name.restore(expr),
                None => expr,
            }))
        })?;
        match settled.transformed {
            true => settled.map_data(|plan| plan.recompute_schema()),
            false => Ok(settled),
        }
    }

    /// A table whose columns are made canonical right above it.
    fn scan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(plan.schema());
        if !schema.fields().iter().any(|field| holds_float(field.data_type())) {
            return Ok(Transformed::no(plan));
        }
        let exprs = schema.iter().map(|(qualifier, field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            match holds_float(field.data_type()) {
                true => self.canonical(column).alias_qualified(qualifier.cloned(), field.name()),
                false => column,
            }
        });
        let exprs: Vec<Expr> = exprs.collect();
        Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(exprs)?.build()?))
    }

    fn aggregate(&self, aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(aggregate.input.schema());
        let mut changed = false;
        let mut groups = Vec::with_capacity(aggregate.group_expr.len());
        for group in &aggregate.group_expr {
            let settled = self.settled(group.clone(), &schema, false)?;
            changed |= settled.transformed;
            groups.push(settled.data);
        }
        let keys = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
        let (mut calls, mut outputs) = (Vec::<Expr>::new(), Vec::<(usize, Answer)>::new());
        for call in &aggregate.aggr_expr {
            let (call, answer, is_new) = self.call(call, &schema)?;
            changed |= is_new;
            let at = calls.iter().position(|known| *known == call).unwrap_or(calls.len());
            if at == calls.len() {
                calls.push(call);
            }
            outputs.push((keys + at, answer));
        }
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let before = Arc::clone(&aggregate.schema);
        let below = LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, groups, calls)?);
        let keys = (0..keys).map(|at| (at, Answer::AsItIs));
        self.restored(below, keys.chain(outputs), &before).map(Transformed::yes)
    }

    fn window(&self, window: Window) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(window.input.schema());
        let columns = schema.fields().len();
        let mut changed = false;
        let (mut calls, mut outputs) = (Vec::<Expr>::new(), Vec::<(usize, Answer)>::new());
        for call in &window.window_expr {
            let (call, answer, is_new) = self.call(call, &schema)?;
            changed |= is_new;
            let at = calls.iter().position(|known| *known == call).unwrap_or(calls.len());
            if at == calls.len() {
                calls.push(call);
            }
            outputs.push((columns + at, answer));
        }
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Window(window)));
        }
        let before = Arc::clone(&window.schema);
        let below = LogicalPlan::Window(Window::try_new(calls, window.input)?);
        let kept = (0..columns).map(|at| (at, Answer::AsItIs));
        self.restored(below, kept.chain(outputs), &before).map(Transformed::yes)
    }

    /// `below` under the columns of `schema`, each of them made of the column at a place.
    fn restored(
        &self,
        below: LogicalPlan,
        columns: impl Iterator<Item = (usize, Answer)>,
        schema: &DFSchema,
    ) -> Result<LogicalPlan> {
        let mut exprs = Vec::with_capacity(schema.fields().len());
        for ((at, answer), (qualifier, field)) in columns.zip(schema.iter()) {
            let column = Expr::Column(Column::from(below.schema().qualified_field(at)));
            let like = || ScalarValue::try_from(field.data_type()).map(lit);
            let functions = &self.functions;
            let value = match answer {
                Answer::AsItIs => column,
                Answer::Float => self.canonical(column),
                Answer::Key => called(&functions.order_value, vec![column, like()?]),
                Answer::WideSum { name } => {
                    called(&functions.sum_in_range, vec![column, like()?, lit(name)])
                }
            };
            let is_named = matches!(&value, Expr::Column(column)
                if column.name == *field.name() && column.relation.as_ref() == qualifier);
            exprs.push(match is_named {
                true => value,
                false => value.alias_qualified(qualifier.cloned(), field.name()),
            });
        }
        LogicalPlanBuilder::from(below).project(exprs)?.build()
    }

    /// An aggregate or window function as it is to be computed, what its answer is then, and whether
    /// anything of it is new.
    fn call(&self, call: &Expr, schema: &DFSchema) -> Result<(Expr, Answer, bool)> {
        if let Expr::Alias(alias) = call {
            return self.call(&alias.expr, schema);
        }
        let name = call.schema_name().to_string();
        // Of a parameter that has no type yet nothing is known.
        let Ok(given) = call.get_type(schema) else {
            return Ok((call.clone(), Answer::AsItIs, false));
        };
        let settled = call.clone().map_children(|child| self.settled(child, schema, false))?;
        let (mut call, mut is_new) = (settled.data, settled.transformed);
        let Some(Called { function, args }) = Called::of(&mut call) else {
            let answer = if holds_float(&given) { Answer::Float } else { Answer::AsItIs };
            return Ok((call, answer, is_new || holds_float(&given)));
        };
        let argument = match args.first() {
            Some(argument) => argument.get_type(schema)?,
            None => DataType::Null,
        };
        let answer = match function.name() {
            "sum" if wide_type(&argument).is_some() && args.len() == 1 => {
                *function = Arc::clone(&self.functions.wide_sum);
                Answer::WideSum { name }
            }
            "min" | "max" if key_type(&argument)?.is_some() => {
                for argument in args.iter_mut() {
                    let value = std::mem::take(argument);
                    *argument = called(&self.functions.order_key, vec![value]);
                }
                Answer::Key
            }
            name if holds_float(&given) && !GIVE_VALUES.contains(&name) => Answer::Float,
            _ => Answer::AsItIs,
        };
        is_new |= !matches!(answer, Answer::AsItIs);
        Ok((call, answer, is_new))
    }

    /// `expr` with canonical floats wherever they are looked at.
    fn settled(
        &self,
        expr: Expr,
        schema: &DFSchema,
        in_arithmetic: bool,
    ) -> Result<Transformed<Expr>> {
        // The plans of subqueries are visited as plans.
        let takes_any = is_arithmetic(&expr) || settles(&expr);
        let settled = expr.map_children(|child| self.settled(child, schema, takes_any))?;
        if let Expr::Literal(value, metadata) = &settled.data {
            if !holds_float(&value.data_type()) || value.is_null() {
                return Ok(settled);
            }
            let canonical = canonical_scalar(value)?;
            let literal = Expr::Literal(canonical, metadata.clone());
            // Equality of scalars is that of bits here, as that of plans is.
            return Ok(match literal == settled.data {
                true => settled,
                false => Transformed::yes(literal),
            });
        }
        if in_arithmetic || !may_be_odd(&settled.data, schema) {
            return Ok(settled);
        }
        Ok(settled.update_data(|expr| self.canonical(expr)).with_transformed())
    }

    fn canonical(&self, expr: Expr) -> Expr {
        called(&self.functions.canonical, vec![expr])
    }
}

trait WithTransformed {
    fn with_transformed(self) -> Self;
}

impl<T> WithTransformed for Transformed<T> {
    fn with_transformed(mut self) -> Self {
        self.transformed = true;
        self
    }
}

impl AnalyzerRule for ValueRule {
    fn name(&self) -> &str {
        "values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| self.node(plan)).data()
    }
}

/// What the value of a call is to the one that was asked for.
enum Answer {
    AsItIs,
    /// A float that may have other bits.
    Float,
    /// A key that orders as the value does.
    Key,
    /// A sum of a wider type; `name` is what the query calls it.
    WideSum {
        name: String,
    },
}

/// The function and the arguments of a call of an aggregate, also over a frame.
struct Called<'a> {
    function: &'a mut Arc<AggregateUDF>,
    args: &'a mut Vec<Expr>,
}

impl<'a> Called<'a> {
    fn of(call: &'a mut Expr) -> Option<Self> {
        match call {
            Expr::AggregateFunction(AggregateFunction { func, params }) => {
                Some(Self { function: func, args: &mut params.args })
            }
            Expr::WindowFunction(window) => {
                let WindowFunction { fun, params } = window.as_mut();
                match fun {
                    WindowFunctionDefinition::AggregateUDF(function) => {
                        Some(Self { function, args: &mut params.args })
                    }
                    WindowFunctionDefinition::WindowUDF(_) => None,
                }
            }
            _ => None,
        }
    }
}

fn called(function: &Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))
}

fn is_arithmetic(expr: &Expr) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    match expr {
        Expr::BinaryExpr(binary) => {
            matches!(binary.op, Plus | Minus | Multiply | Divide | Modulo)
        }
        Expr::Negative(_) => true,
        _ => false,
    }
}

/// Whether `expr` makes its argument canonical itself.
fn settles(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if [CANONICAL, ORDER_KEY].contains(&call.func.name()))
}

/// Whether the value may be a float that is not canonical where those in `expr` are.
fn may_be_odd(expr: &Expr, schema: &DFSchema) -> bool {
    let is_made = match expr {
        Expr::ScalarFunction(call) => !GIVE_ARGUMENTS.contains(&call.func.name()),
        // Text may say -0, and a number may be too small for a shorter float.
        Expr::Cast(Cast { expr: inner, .. }) | Expr::TryCast(TryCast { expr: inner, .. }) => {
            let from = inner.get_type(schema).ok();
            from.is_none_or(|from| !from.is_integer() && expr.get_type(schema).ok() != Some(from))
        }
        Expr::Placeholder(_) | Expr::ScalarVariable(..) => true,
        other => is_arithmetic(other),
    };
    // Of a parameter that has no type yet nothing is known.
    is_made && expr.get_type(schema).is_ok_and(|data_type| holds_float(&data_type))
}
