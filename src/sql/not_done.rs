//! Clauses that the parser takes and no plan carries out. The planner drops many of them without a
//! word, and shows others as it holds them: here each is refused at its place, with what to write.

use std::ops::ControlFlow;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, GroupByExpr, GroupByWithModifier, IdentWithAlias, Insert,
    Interval, JoinOperator, ObjectName, Query, RenameSelectItem, Select, SelectItem, Spanned,
    Statement, TableFactor, TableObject, Visit, Visitor, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::error::SqlError;
use super::script::normalized;
use super::window_call::{WINDOW_NAMES, is_window_function};

const LEAVE_OUT: &str = "leave it out";

/// Refuses what `statement`, which begins at `line` of `tokens`, holds of such clauses.
///
/// # Errors
/// The first of them.
pub(super) fn check_done(
    statement: &Statement,
    line: u64,
    tokens: &[TokenWithSpan],
) -> Result<(), SqlError> {
    let refused = match statement {
        Statement::Insert(insert) => of_insert(insert),
        _ => ControlFlow::Continue(()),
    };
    let refused = match refused {
        ControlFlow::Continue(()) => statement.visit(&mut Clauses),
        refused => refused,
    };
    let ControlFlow::Break(Refused { place, message }) = refused else { return Ok(()) };
    let span = match place {
        Place::At(span) if span != Span::empty() => Some(span),
        Place::At(_) => None,
        Place::Word(word) => span_of(word, line, tokens),
    };
    Err(match span {
        Some(span) => SqlError::at(span.start.line, span.start.column, message),
        None => SqlError::in_statement(line, message),
    })
}

/// Where the keyword `word` stands first from `line` on: the parser keeps no place of keywords.
fn span_of(word: &str, line: u64, tokens: &[TokenWithSpan]) -> Option<Span> {
    let is_word = |token: &Token| match token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        token => token.to_string() == word,
    };
    let mut rest = tokens.iter().filter(|token| token.span.start.line >= line);
    rest.find(|token| is_word(&token.token)).map(|token| token.span)
}

/// A clause that is refused.
struct Refused {
    place: Place,
    message: String,
}

enum Place {
    At(Span),
    Word(&'static str),
}

/// The clause that begins with the last word of `clause`, and what to write instead.
fn refuse(clause: &str, word: &'static str, instead: &str) -> ControlFlow<Refused> {
    let message = format!("{clause} is not supported; {instead}");
    ControlFlow::Break(Refused { place: Place::Word(word), message })
}

/// The first of `clauses` that is there: each with its name, its word, and what to write instead.
fn first_of(clauses: &[(bool, &str, &'static str, &str)]) -> ControlFlow<Refused> {
    match clauses.iter().find(|(is_there, ..)| *is_there) {
        Some((_, clause, word, instead)) => refuse(clause, word, instead),
        None => ControlFlow::Continue(()),
    }
}

fn of_insert(insert: &Insert) -> ControlFlow<Refused> {
    let sink = match &insert.table {
        TableObject::TableName(name) => name.to_string(),
        _ => "sink".to_owned(),
    };
    let adds = format!("for a job adds to its sink; write INSERT INTO {sink}");
    let refuse_adding = |word: &'static str| {
        let message = format!("INSERT {word} is not supported, {adds}");
        ControlFlow::Break(Refused { place: Place::Word(word), message })
    };
    if insert.overwrite {
        return refuse_adding("OVERWRITE");
    }
    if insert.or.is_some() {
        return refuse_adding("OR");
    }
    if insert.ignore {
        return refuse_adding("IGNORE");
    }
    first_of(&[
        (insert.replace_into, "REPLACE INTO", "REPLACE", "write INSERT INTO"),
        (insert.on.is_some(), "ON CONFLICT", "ON", LEAVE_OUT),
        (insert.returning.is_some(), "RETURNING", "RETURNING", LEAVE_OUT),
        (insert.output.is_some(), "OUTPUT", "OUTPUT", LEAVE_OUT),
        (
            insert.partitioned.is_some(),
            "INSERT INTO ... PARTITION",
            "PARTITION",
            "write partition_by in the job's sink",
        ),
        (insert.settings.is_some(), "SETTINGS", "SETTINGS", LEAVE_OUT),
        (insert.format_clause.is_some(), "FORMAT", "FORMAT", "the job's sink has its format"),
    ])
}

struct Clauses;

impl Visitor for Clauses {
    type Break = Refused;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refused> {
        first_of(&[
            (!query.locks.is_empty(), "FOR UPDATE", "FOR", LEAVE_OUT),
            (query.for_clause.is_some(), "FOR", "FOR", LEAVE_OUT),
            (query.settings.is_some(), "SETTINGS", "SETTINGS", LEAVE_OUT),
            (query.format_clause.is_some(), "FORMAT", "FORMAT", "the job's sink has its format"),
            (!query.pipe_operators.is_empty(), "|>", "|>", "write a SELECT around the query"),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refused> {
        let sort = "the rows of a sink have no order; leave it out";
        let top = "number the rows of a window with ROW_NUMBER() OVER (PARTITION BY window_start \
                   ORDER BY x) AS n, and write WHERE n <= 10 around that";
        first_of(&[
            (select.top.is_some(), "TOP", "TOP", top),
            (select.into.is_some(), "SELECT ... INTO", "SELECT", "write INSERT INTO sink SELECT"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW", "LATERAL", "write unnest(x)"),
            (select.prewhere.is_some(), "PREWHERE", "PREWHERE", "write WHERE"),
            (
                !select.connect_by.is_empty(),
                "CONNECT BY",
                "CONNECT",
                "a job follows no rows from one to the next",
            ),
            (!select.cluster_by.is_empty(), "CLUSTER BY", "CLUSTER", sort),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY", "DISTRIBUTE", sort),
            (!select.sort_by.is_empty(), "SORT BY", "SORT", sort),
        ])?;
        for item in &select.projection {
            if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item
            {
                of_wildcard(options)?;
            }
        }
        of_group_by(&select.group_by)?;
        let joins = select.from.iter().flat_map(|from| &from.joins);
        let is_asof = |operator: &JoinOperator| matches!(operator, JoinOperator::AsOf { .. });
        let asof = joins.map(|join| &join.join_operator).any(is_asof);
        first_of(&[(
            asof,
            "ASOF JOIN",
            "ASOF",
            "JOIN views that are aggregated by the same window",
        )])
    }

    fn pre_visit_table_factor(&mut self, relation: &TableFactor) -> ControlFlow<Refused> {
        match relation {
            TableFactor::Table { name, args: Some(_), .. } => window_name(name, false)?,
            TableFactor::Function { name, .. } => window_name(name, false)?,
            TableFactor::TableFunction { expr: Expr::Function(call), .. } => {
                window_name(&call.name, true)?;
            }
            _ => {}
        }
        of_relation(relation)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refused> {
        let message = match expr {
            // The planner's own are among the functions of a session.
            Expr::Function(call) if call.name.to_string().starts_with("__") => {
                "functions whose names begin with two underscores are the engine's own".to_owned()
            }
            Expr::Interval(Interval {
                leading_field: Some(from), last_field: Some(to), ..
            }) => {
                format!(
                    "INTERVAL ... {from} TO {to} is not supported; write the units in the text, as \
                     in INTERVAL '1 hour 30 minutes'"
                )
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                match field_of_expression(root, access_chain) {
                    Some(message) => message,
                    None => return ControlFlow::Continue(()),
                }
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Multiply | BinaryOperator::Divide,
                right,
            } if is_interval(left) || is_interval(right) => format!(
                "{expr} is not supported; write the length as one interval, as in INTERVAL '10 \
                 minutes'"
            ),
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(Refused { place: Place::At(expr.span()), message })
    }
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_interval(inner),
        expr => matches!(expr, Expr::Interval(_)),
    }
}

/// A dot after what is no name: the planner takes names up to the first other part, and after that
/// only subscripts.
fn field_of_expression(root: &Expr, chain: &[AccessExpr]) -> Option<String> {
    let field_of = |access: &AccessExpr| match access {
        AccessExpr::Dot(Expr::Identifier(field)) => Some(field.clone()),
        _ => None,
    };
    let names = match root {
        Expr::Identifier(_) => chain.iter().take_while(|part| field_of(part).is_some()).count(),
        _ => 0,
    };
    let (named, rest) = chain.split_at(names);
    let field = rest.iter().find_map(field_of)?;
    if let Expr::Function(call) = root
        && is_window_function(&call.name.to_string().to_lowercase())
    {
        return Some(format!(
            "the field {field} is read of a column, not of an expression; name {root} AS w in a \
             view or subquery, and write w.{field} over that"
        ));
    }
    let mut written = root.to_string();
    named.iter().for_each(|part| written.push_str(&part.to_string()));
    for part in rest {
        match field_of(part) {
            Some(field) => written.push_str(&format!("['{}']", normalized(&field))),
            None => written.push_str(&part.to_string()),
        }
    }
    Some(format!("the field {field} is read of a name, not of an expression; write {written}"))
}

fn of_wildcard(options: &WildcardAdditionalOptions) -> ControlFlow<Refused> {
    let renamed = |items: &[&IdentWithAlias]| {
        let names: Vec<String> = items.iter().map(|item| item.ident.to_string()).collect();
        let aliased: Vec<String> = items.iter().map(|item| item.to_string()).collect();
        format!("write * EXCEPT ({}), {}", names.join(", "), aliased.join(", "))
    };
    let (clause, instead) = match (&options.opt_ilike, &options.opt_rename) {
        (Some(_), _) => ("* ILIKE", "write the columns that are meant".to_owned()),
        (None, Some(RenameSelectItem::Single(item))) => ("* RENAME", renamed(&[item])),
        (None, Some(RenameSelectItem::Multiple(items))) => {
            ("* RENAME", renamed(&items.iter().collect::<Vec<_>>()))
        }
        (None, None) => return ControlFlow::Continue(()),
    };
    let message = format!("{clause} is not supported; {instead}");
    ControlFlow::Break(Refused { place: Place::At(options.wildcard_token.0.span), message })
}

/// What stands after the keys of GROUP BY.
fn of_group_by(group_by: &GroupByExpr) -> ControlFlow<Refused> {
    let (keys, modifiers) = match group_by {
        GroupByExpr::All(modifiers) => (&[][..], modifiers),
        GroupByExpr::Expressions(keys, modifiers) => (keys.as_slice(), modifiers),
    };
    let Some(modifier) = modifiers.first() else { return ControlFlow::Continue(()) };
    let (windows, others): (Vec<&Expr>, Vec<&Expr>) = keys.iter().partition(|key| is_window(key));
    let listed = |keys: &[&Expr], or: &str| match keys {
        [] => or.to_owned(),
        keys => keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let (window, others) = (listed(&windows, "window_start"), listed(&others, "a, b"));
    let (clause, word, instead) = match modifier {
        GroupByWithModifier::Rollup => {
            ("WITH ROLLUP", "ROLLUP", format!("{window}, ROLLUP ({others})"))
        }
        GroupByWithModifier::Cube => ("WITH CUBE", "CUBE", format!("{window}, CUBE ({others})")),
        GroupByWithModifier::Totals => {
            ("WITH TOTALS", "TOTALS", format!("GROUPING SETS (({window}, {others}), ({window}))"))
        }
        GroupByWithModifier::GroupingSets(sets) => {
            ("GROUPING SETS after keys", "GROUPING", sets.to_string())
        }
    };
    refuse(clause, word, &format!("write GROUP BY {instead}"))
}

/// Whether a key of GROUP BY looks like a window.
fn is_window(key: &Expr) -> bool {
    match key {
        Expr::Identifier(name) => name.value.to_lowercase().starts_with("window_"),
        Expr::CompoundIdentifier(names) => {
            names.last().is_some_and(|name| name.value.to_lowercase().starts_with("window_"))
        }
        Expr::Function(call) => {
            let name = call.name.to_string().to_lowercase();
            is_window_function(&name) || ["date_trunc", "date_bin"].contains(&name.as_str())
        }
        _ => false,
    }
}

fn of_relation(relation: &TableFactor) -> ControlFlow<Refused> {
    let (clause, word, instead) = match relation {
        TableFactor::Table { sample: Some(_), .. }
        | TableFactor::Derived { sample: Some(_), .. } => {
            let instead = "pick rows by what is in them, in WHERE";
            // Either word makes the clause.
            return match relation.to_string().contains("TABLESAMPLE") {
                true => refuse("TABLESAMPLE", "TABLESAMPLE", instead),
                false => refuse("SAMPLE", "SAMPLE", instead),
            };
        }
        TableFactor::Table { version: Some(_), .. } => ("AS OF", "OF", "a stream has no versions"),
        TableFactor::Table { with_ordinality: true, .. } => ("WITH ORDINALITY", "WITH", LEAVE_OUT),
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => {
            ("PARTITION in FROM", "PARTITION", "write WHERE")
        }
        TableFactor::Table { with_hints, .. } if !with_hints.is_empty() => {
            ("a hint", "WITH", LEAVE_OUT)
        }
        TableFactor::Pivot { .. } => {
            let instead = "write an aggregate with FILTER (WHERE ...) for each column";
            ("PIVOT", "PIVOT", instead)
        }
        TableFactor::Unpivot { .. } => {
            ("UNPIVOT", "UNPIVOT", "write unnest(make_array(a, b)) over the columns")
        }
        TableFactor::MatchRecognize { .. } => {
            let instead = "aggregate by windows in views, and compare those";
            ("MATCH_RECOGNIZE", "MATCH_RECOGNIZE", instead)
        }
        _ => return ControlFlow::Continue(()),
    };
    refuse(clause, word, instead)
}

/// Refuses a function of FROM that was meant to be a window, and in TABLE(...) every other.
fn window_name(name: &ObjectName, in_table: bool) -> ControlFlow<Refused> {
    let called = name.to_string();
    let lower = called.to_lowercase();
    if is_window_function(&lower) {
        return ControlFlow::Continue(());
    }
    let distance = |window: &&str| levenshtein(&lower, window);
    let nearest = WINDOW_NAMES.into_iter().min_by_key(distance);
    let near = nearest.filter(|window| distance(window) <= window.len() / 3);
    let instead = match near {
        Some(window) => format!("write {}", window.to_uppercase()),
        None if in_table => "TABLE(...) takes TUMBLE, HOP, CUMULATE or SESSION".to_owned(),
        None => return ControlFlow::Continue(()),
    };
    let message = format!("there is no window {called}; {instead}");
    ControlFlow::Break(Refused { place: Place::At(name.span()), message })
}
