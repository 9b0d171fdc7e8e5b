//! A window function of FROM as it is called: which one, and its arguments in the order of its
//! parameters.
//!
//! The arguments of the dialects differ only in names and in `DESCRIPTOR(ts)` for `ts`, so one list
//! of parameter names per function serves them all.

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::partition_by::PARTITION_ARGUMENT;

pub(super) const TUMBLE: &str = "tumble";
pub(super) const HOP: &str = "hop";
pub(super) const CUMULATE: &str = "cumulate";
pub(super) const SESSION: &str = "session";

/// A window function of FROM and the names of its parameters, in order; after the table and the
/// time column, all of them are lengths.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [&'static str],
    /// How many of the last parameters may be left out.
    optional: usize,
    pub(super) usage: &'static str,
}

const SIGNATURES: [Signature; 4] = [
    Signature {
        name: TUMBLE,
        parameters: &["data", "timecol", "size", "offset"],
        optional: 1,
        usage: "TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])",
    },
    Signature {
        name: HOP,
        parameters: &["data", "timecol", "slide", "size", "offset"],
        optional: 1,
        usage: "HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset])",
    },
    Signature {
        name: CUMULATE,
        parameters: &["data", "timecol", "step", "size", "offset"],
        optional: 1,
        usage: "CUMULATE(TABLE t, DESCRIPTOR(ts), step, size [, offset])",
    },
    Signature {
        name: SESSION,
        parameters: &["data", "timecol", "gap"],
        optional: 0,
        usage: "SESSION(TABLE t [PARTITION BY k, ...], DESCRIPTOR(ts), gap)",
    },
];

/// The window functions of FROM.
pub(super) const WINDOW_NAMES: [&str; 4] = [TUMBLE, HOP, CUMULATE, SESSION];

/// Whether `name`, in lower case, is a window function of FROM.
pub(super) fn is_window_function(name: &str) -> bool {
    SIGNATURES.iter().any(|signature| signature.name == name)
}

/// How the window function `name` is called.
pub(super) fn usage_of(name: &str) -> &'static str {
    SIGNATURES.iter().find(|signature| signature.name == name).map_or("", |found| found.usage)
}

/// A call of a window function in FROM.
#[derive(Debug)]
pub(super) struct WindowCall<'a> {
    pub(super) signature: &'static Signature,
    /// Where its name stands.
    pub(super) span: Span,
    pub(super) alias: Option<TableAlias>,
    args: &'a [FunctionArg],
}

/// The arguments of a call; those that are optional and left out are none.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) data: SqlExpr,
    pub(super) time: SqlExpr,
    pub(super) lengths: Vec<Option<SqlExpr>>,
    /// The columns after `PARTITION BY`.
    pub(super) partition: Vec<SqlExpr>,
}

impl<'a> WindowCall<'a> {
    /// The call that `relation` is, if it is one.
    pub(super) fn of(relation: &'a TableFactor) -> Result<Option<Self>> {
        let (name, args, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                (name, Some(args.args.as_slice()), alias)
            }
            TableFactor::Function { name, args, alias, .. } => (name, Some(args.as_slice()), alias),
            TableFactor::TableFunction { expr: SqlExpr::Function(call), alias } => {
                let args = match &call.args {
                    FunctionArguments::List(list) => Some(list.args.as_slice()),
                    _ => None,
                };
                (&call.name, args, alias)
            }
            _ => return Ok(None),
        };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Ok(None) };
        let name = ident.value.to_lowercase();
        let Some(signature) = SIGNATURES.iter().find(|signature| signature.name == name) else {
            return Ok(None);
        };
        match args {
            Some(args) => {
                Ok(Some(Self { signature, span: ident.span, alias: alias.clone(), args }))
            }
            None => plan_err!("{} takes arguments: {}", ident.value, signature.usage),
        }
    }

    /// Puts positional and named arguments into the order of the signature.
    pub(super) fn bind(&self) -> Result<Arguments> {
        let Signature { parameters, usage, optional, .. } = self.signature;
        let mut bound: Vec<Option<SqlExpr>> = vec![None; parameters.len()];
        let plain = self.args.iter().filter(|arg| partition_columns(arg).is_none());
        for (position, arg) in plain.enumerate() {
            let (slot, value) = self.slot(position, arg)?;
            match (bound.get_mut(slot), value) {
                (Some(empty @ None), FunctionArgExpr::Expr(value)) => *empty = Some(value.clone()),
                _ => return plan_err!("\"{arg}\" does not fit {usage}"),
            }
        }
        let required = parameters.len() - optional;
        if let Some(missing) = bound[..required].iter().position(Option::is_none) {
            return plan_err!("{} is missing in {usage}", parameters[missing]);
        }
        let partition = self.args.iter().find_map(partition_columns).unwrap_or_default();
        let mut bound = bound.into_iter();
        match (bound.next().flatten(), bound.next().flatten()) {
            (Some(data), Some(time)) => {
                Ok(Arguments { data, time, lengths: bound.collect(), partition })
            }
            _ => plan_err!("arguments are missing in {usage}"),
        }
    }

    /// Which parameter an argument is for, and its value.
    fn slot<'b>(
        &self,
        position: usize,
        arg: &'b FunctionArg,
    ) -> Result<(usize, &'b FunctionArgExpr)> {
        let Signature { parameters, usage, .. } = self.signature;
        match arg {
            FunctionArg::Unnamed(value) => Ok((position, value)),
            FunctionArg::Named { name, arg, operator: FunctionArgOperator::RightArrow } => {
                let known = name.value.to_lowercase();
                match parameters.iter().position(|parameter| *parameter == known) {
                    Some(slot) => Ok((slot, arg)),
                    None => plan_err!("{known} is no argument of {usage}"),
                }
            }
            other => plan_err!("\"{other}\" does not fit {usage}"),
        }
    }
}

/// The columns of the argument that stands for `PARTITION BY`, if `arg` is that.
fn partition_columns(arg: &FunctionArg) -> Option<Vec<SqlExpr>> {
    let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(columns), .. } = arg else {
        return None;
    };
    if name.value != PARTITION_ARGUMENT {
        return None;
    }
    Some(match columns {
        SqlExpr::Tuple(columns) => columns.clone(),
        SqlExpr::Nested(column) => vec![column.as_ref().clone()],
        column => vec![column.clone()],
    })
}

/// The relation that an argument names: a table, a view, or a query in brackets.
pub(super) fn relation_of(data: SqlExpr) -> Result<TableFactor> {
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

/// What `ts`, `event.timestamp` or one of them in `DESCRIPTOR(...)` names, as it is written.
#[derive(Debug)]
pub(super) enum TimeArgument {
    /// A column, by its last name.
    Column(Ident),
    /// A column after its table, or a field of a struct; with its last name.
    Path(Box<SqlExpr>, Ident),
}

/// The time that an argument names.
pub(super) fn time_argument(expr: SqlExpr) -> Result<TimeArgument> {
    match expr {
        SqlExpr::Function(call) if call.name.to_string().eq_ignore_ascii_case("descriptor") => {
            match descriptor_argument(&call.args).and_then(named_time) {
                Some(time) => Ok(time),
                None => plan_err!("DESCRIPTOR takes one column: DESCRIPTOR(ts)"),
            }
        }
        expr => {
            let text = expr.to_string();
            match named_time(expr) {
                Some(time) => Ok(time),
                None => plan_err!("\"{text}\" is not a column; write DESCRIPTOR(ts)"),
            }
        }
    }
}

fn named_time(expr: SqlExpr) -> Option<TimeArgument> {
    match expr {
        SqlExpr::Identifier(ident) => Some(TimeArgument::Column(ident)),
        SqlExpr::CompoundIdentifier(idents) => {
            let last = idents.last()?.clone();
            Some(TimeArgument::Path(Box::new(SqlExpr::CompoundIdentifier(idents)), last))
        }
        SqlExpr::CompoundFieldAccess { root, access_chain } => {
            let (SqlExpr::Identifier(ident), false) = (root.as_ref(), access_chain.is_empty())
            else {
                return None;
            };
            let first = ident.clone();
            let field = SqlExpr::CompoundFieldAccess { root, access_chain };
            Some(TimeArgument::Path(Box::new(field), first))
        }
        _ => None,
    }
}

fn descriptor_argument(args: &FunctionArguments) -> Option<SqlExpr> {
    let FunctionArguments::List(list) = args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr.clone()),
        _ => None,
    }
}
