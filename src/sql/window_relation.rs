//! `TUMBLE` and `HOP` in FROM: Flink's spelling, with and without `TABLE(...)`, with named
//! arguments, and RisingWave's.
//!
//! The arguments of the four spellings differ only in names and in `DESCRIPTOR(ts)` for `ts`, so
//! one list of parameter names per function serves them all.

use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, TableAlias, TableFactor,
};
use std::sync::Arc;

use super::interval::interval_us;
use super::window_node::WindowNode;
use super::window_shape::WindowShape;
use super::windows::Windows;

/// Plans window table functions into [`WindowNode`]s.
#[derive(Debug, Default)]
pub(super) struct WindowRelationPlanner;

/// A window function of FROM and the names of its parameters, in order; those of `optional` may
/// be left out.
struct Signature {
    name: &'static str,
    parameters: &'static [&'static str],
    optional: usize,
    usage: &'static str,
}

const SIGNATURES: [Signature; 2] = [
    Signature {
        name: "tumble",
        parameters: &["data", "timecol", "size", "offset"],
        optional: 1,
        usage: "TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])",
    },
    Signature {
        name: "hop",
        parameters: &["data", "timecol", "slide", "size", "offset"],
        optional: 1,
        usage: "HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset])",
    },
];

impl RelationPlanner for WindowRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((signature, args, alias)) = window_call(&relation)? else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let args = bind(signature, args)?;
        let plan = plan_window(signature, args, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

type Call<'a> = (&'static Signature, &'a [FunctionArg], Option<TableAlias>);

fn window_call(relation: &TableFactor) -> Result<Option<Call<'_>>> {
    match relation {
        TableFactor::Table { name, args: Some(args), alias, .. } => {
            Ok(signature(name)?.map(|found| (found, args.args.as_slice(), alias.clone())))
        }
        TableFactor::Function { name, args, alias, .. } => {
            Ok(signature(name)?.map(|found| (found, args.as_slice(), alias.clone())))
        }
        TableFactor::TableFunction { expr: SqlExpr::Function(call), alias } => {
            let Some(found) = signature(&call.name)? else { return Ok(None) };
            match &call.args {
                FunctionArguments::List(list) => Ok(Some((found, &list.args, alias.clone()))),
                _ => plan_err!("{} takes arguments: {}", found.name, found.usage),
            }
        }
        _ => Ok(None),
    }
}

fn signature(name: &ObjectName) -> Result<Option<&'static Signature>> {
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Ok(None) };
    let name = ident.value.to_lowercase();
    if name == "cumulate" || name == "session" {
        return plan_err!("{} windows are not supported yet; TUMBLE and HOP are", ident.value);
    }
    Ok(SIGNATURES.iter().find(|signature| signature.name == name))
}

/// Puts positional and named arguments into the order of the signature.
fn bind(signature: &'static Signature, args: &[FunctionArg]) -> Result<Vec<Option<SqlExpr>>> {
    let mut bound: Vec<Option<SqlExpr>> = vec![None; signature.parameters.len()];
    for (position, arg) in args.iter().enumerate() {
        let (slot, value) = match arg {
            FunctionArg::Unnamed(value) => (position, value),
            FunctionArg::Named { name, arg, operator: FunctionArgOperator::RightArrow } => {
                let known = name.value.to_lowercase();
                match signature.parameters.iter().position(|parameter| *parameter == known) {
                    Some(slot) => (slot, arg),
                    None => return plan_err!("{known} is no argument of {}", signature.usage),
                }
            }
            other => return plan_err!("\"{other}\" does not fit {}", signature.usage),
        };
        match (bound.get_mut(slot), value) {
            (Some(empty @ None), FunctionArgExpr::Expr(value)) => *empty = Some(value.clone()),
            _ => return plan_err!("\"{arg}\" does not fit {}", signature.usage),
        }
    }
    let required = signature.parameters.len() - signature.optional;
    match bound[..required].iter().position(Option::is_none) {
        Some(missing) => {
            plan_err!("{} is missing in {}", signature.parameters[missing], signature.usage)
        }
        None => Ok(bound),
    }
}

fn plan_window(
    signature: &Signature,
    args: Vec<Option<SqlExpr>>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let mut args = args.into_iter();
    let mut next = || args.next().flatten();
    let (Some(data), Some(time), Some(first)) = (next(), next(), next()) else {
        return plan_err!("arguments are missing in {}", signature.usage);
    };
    let input = context.plan(relation_of(data)?)?;
    let mut length = |expr: SqlExpr| {
        let expr = context.sql_to_expr(expr, input.schema())?;
        interval_us(&expr)
    };
    let slide_or_size_us = length(first)?;
    let size_us = match signature.name {
        "hop" => next().map(&mut length).transpose()?.unwrap_or_default(),
        _ => slide_or_size_us,
    };
    let offset_us = next().map(&mut length).transpose()?.unwrap_or_default();
    let shape = match WindowShape::new(size_us, slide_or_size_us, offset_us) {
        Ok(shape) => shape,
        Err(why) => return plan_err!("{why}: {}", signature.usage),
    };
    let time = time_column(time, &input, context)?;
    let node = WindowNode::try_new(input, time, Windows::Aligned(shape), vec![])?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The relation that an argument names: a table, a view, or a query in parentheses.
fn relation_of(data: SqlExpr) -> Result<TableFactor> {
    let name = match data {
        SqlExpr::Identifier(ident) => ObjectName::from(vec![ident]),
        SqlExpr::CompoundIdentifier(idents) => ObjectName::from(idents),
        SqlExpr::Subquery(subquery) => {
            return Ok(TableFactor::Derived {
                lateral: false,
                subquery,
                alias: None,
                sample: None,
            });
        }
        other => return plan_err!("\"{other}\" is not a table; write TABLE t"),
    };
    Ok(TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    })
}

/// The column that `ts` or `DESCRIPTOR(ts)` names.
fn time_column(
    expr: SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Column> {
    let idents: Vec<Ident> = match expr {
        SqlExpr::Identifier(ident) => vec![ident],
        SqlExpr::CompoundIdentifier(idents) => idents,
        SqlExpr::Function(call) if call.name.to_string().eq_ignore_ascii_case("descriptor") => {
            match descriptor_argument(&call.args) {
                Some(ident) => vec![ident],
                None => return plan_err!("DESCRIPTOR takes one column: DESCRIPTOR(ts)"),
            }
        }
        other => return plan_err!("\"{other}\" is not a column; write DESCRIPTOR(ts)"),
    };
    let Some(name) = idents.into_iter().next_back() else {
        return plan_err!("the time column is missing; write DESCRIPTOR(ts)");
    };
    let name = context.normalize_ident(name);
    let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(&name)?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}

fn descriptor_argument(args: &FunctionArguments) -> Option<Ident> {
    let FunctionArguments::List(list) = args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Identifier(ident)))] => {
            Some(ident.clone())
        }
        _ => None,
    }
}
