//! The planner's texts in a user's words: what it says of its own structs, casts and settings tells
//! the writer of a query nothing. Texts that are not known pass as they are.

use datafusion::common::utils::datafusion_strsim::levenshtein;

use super::clause::Clause;
use super::interval::with_intervals_spoken;
use super::window_call::{is_window_function, usage_of};

/// What SQL calls the types that messages name.
const TYPES: [(&str, &str); 11] = [
    ("Utf8View", "VARCHAR"),
    ("Utf8", "VARCHAR"),
    // Before those whose names they hold.
    ("UInt64", "BIGINT UNSIGNED"),
    ("UInt32", "INT UNSIGNED"),
    ("Int64", "BIGINT"),
    ("Int32", "INT"),
    ("Float64", "DOUBLE"),
    ("Boolean", "BOOLEAN"),
    ("Decimal", "DECIMAL"),
    ("Timestamp(µs, \"UTC\")", "TIMESTAMP"),
    ("Timestamp(µs)", "TIMESTAMP"),
];

/// The types that a value is best cast to, of those that a function takes.
const CAST_TO: [&str; 6] = ["BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP"];

/// `message` of the planner as a user reads it.
pub(super) fn reworded(message: &str) -> String {
    let message = with_intervals_spoken(message);
    let rules = [
        no_signature,
        no_function,
        not_grouped,
        field_of_outer_column,
        no_interval,
        too_many_columns,
        no_temporal_operation,
        as_held,
    ];
    let said = rules.iter().find_map(|rule| rule(&message));
    said.unwrap_or_else(|| match message.split_once("\nThis issue was likely caused by a bug") {
        Some((said, _)) => said.trim_end_matches('.').to_owned(),
        None => message,
    })
}

/// The clause that `message` of the planner is about, and a word of it, where it names them.
pub(super) fn named_clause(message: &str) -> Option<(Clause, Option<String>)> {
    if let Some(call) = between(message, "argument types '", "(") {
        return Some((Clause::Call, Some(call.to_owned())));
    }
    if message.contains("OuterReferenceColumn ") {
        return Some((Clause::Subquery, None));
    }
    let text = between(message, "syntax for type interval: \"", "\"")?;
    Some((Clause::Interval, Some(text.to_owned())))
}

/// What stands in `text` after `before` and up to `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// A call whose arguments have other types than the function takes.
fn no_signature(message: &str) -> Option<String> {
    let (reason, rest) = message.split_once("No function matches the given name and argument")?;
    let call = in_sql_types(between(rest, "types '", "'. ")?);
    let required: Vec<&str> = reason.split(" requires ").skip(1).collect();
    if !required.is_empty() {
        let kind = |part: &&str| match part.split_once(", but") {
            Some((kind, _)) => in_sql_types(kind),
            None => in_sql_types(part),
        };
        let kinds: Vec<String> = required.iter().map(kind).collect();
        let takes = |to: &&str| kinds.iter().any(|kind| kind.eq_ignore_ascii_case(to));
        let to: Vec<&str> = CAST_TO.into_iter().filter(takes).collect();
        let to = if to.is_empty() { String::new() } else { format!(" to {}", to.join(" or ")) };
        return Some(format!("there is no {call}; cast what it is given{to}"));
    }
    // The planner's reason, where it is one.
    match reason.trim().trim_end_matches('.').strip_prefix("Function '") {
        Some(reason) => Some(format!("there is no {call}: {}", reason.replacen('\'', "", 1))),
        None => Some(format!("there is no {call}; cast what it is given")),
    }
}

fn in_sql_types(text: &str) -> String {
    TYPES.iter().fold(text.to_owned(), |text, (name, sql)| text.replace(name, sql))
}

/// A function that is not there, and is like none of those that the planner names.
fn no_function(message: &str) -> Option<String> {
    let name = between(message, "Invalid function '", "'")?;
    let missing = format!("Invalid function '{name}'");
    if let Some((window, value)) = name.rsplit_once('_')
        && is_window_function(window)
    {
        let column = match value {
            "start" => "window_start",
            "end" => "window_end",
            _ => "window_time",
        };
        return Some(format!("{missing}; write FROM {}, and select {column}", usage_of(window)));
    }
    let like = between(message, "Did you mean '", "'")?;
    let is_like = !like.starts_with("__") && levenshtein(name, like) <= (name.len() / 3).max(2);
    (!is_like).then_some(missing)
}

fn not_grouped(message: &str) -> Option<String> {
    let (place, rest) = message.split_once(" must be in GROUP BY or an aggregate function: ")?;
    let (column, _) = rest.split_once("column \"")?.1.split_once("\" must appear")?;
    let place = place.trim_start_matches("Column ");
    Some(format!("{column} stands {place}, but not in GROUP BY; add it there, or aggregate it"))
}

fn field_of_outer_column(message: &str) -> Option<String> {
    let (_, column) = message.split_once("OuterReferenceColumn ")?;
    let (relation, name) = column.rsplit_once('.').unwrap_or(("a", column));
    Some(format!(
        "a subquery cannot read a field of {column} of the query around it; in the view, select \
         the field of {name} under a name of its own, as {name}_field, and write \
         {relation}.{name}_field"
    ))
}

fn too_many_columns(message: &str) -> Option<String> {
    let (_, columns) = message.split_once("The subquery should only return one column: ")?;
    Some(format!(
        "a subquery here gives one column, and this one gives {columns}; to compare several, write \
         EXISTS (SELECT 1 FROM b WHERE b.window_start = a.window_start AND b.x = a.x AND ...)"
    ))
}

fn no_temporal_operation(message: &str) -> Option<String> {
    let operation = between(message, "result type for temporal operation ", ":")?;
    let operation = in_sql_types(&operation.replace("Interval(MonthDayNano)", "INTERVAL"));
    Some(format!("there is no {operation}; cast or compute what it is given"))
}

fn no_interval(message: &str) -> Option<String> {
    let text = between(message, "syntax for type interval: \"", "\"")?;
    Some(format!(
        "INTERVAL '{text}' is none; write a number and a unit, as in INTERVAL '5 minutes'"
    ))
}

/// A part of a statement that is shown as the planner holds it: its name is enough.
fn as_held(message: &str) -> Option<String> {
    if !["Span(Location(", "Ident { "].iter().any(|held| message.contains(held)) {
        return None;
    }
    let (before, _) = message.split_once(['{', '(', '['])?;
    let name = before.trim().trim_start_matches("Unsupported ").trim_start_matches("ast node ");
    let name = name.trim_start_matches("in sqltorel: ");
    Some(format!("{name} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_planner_says_is_put_into_words_of_sql() {
        for (message, expected) in [
            (
                "Internal error: Function 'sum' failed to match any signature, errors: Error \
                 during planning: Function 'sum' requires Decimal, but received String (DataType: \
                 Utf8View).,Error during planning: Function 'sum' requires Int64, but received \
                 String (DataType: Utf8View)..\nThis issue was likely caused by a bug in \
                 DataFusion's code. No function matches the given name and argument types \
                 'sum(Utf8View)'. You might need to add explicit type casts.",
                "there is no sum(VARCHAR); cast what it is given to BIGINT",
            ),
            (
                "Function 'abs' expects Numeric but received String. No function matches the given \
                 name and argument types 'abs(Utf8View)'. You might need to add explicit casts.",
                "there is no abs(VARCHAR): abs expects Numeric but received String",
            ),
            (
                "Invalid function 'hop_end'.\nDid you mean '__pane_start'?",
                "Invalid function 'hop_end'; write FROM HOP(TABLE t, DESCRIPTOR(ts), slide, size \
                 [, offset]), and select window_end",
            ),
            (
                "Invalid function 'time_bucket'.\nDid you mean 'list_except'?",
                "Invalid function 'time_bucket'",
            ),
            (
                "Invalid function 'cuont'.\nDid you mean 'count'?",
                "Invalid function 'cuont'.\nDid you mean 'count'?",
            ),
            (
                "Unsupported ast node in sqltorel: Collate { expr: Identifier(Ident { a: 1 }) }",
                "Collate is not supported",
            ),
            (
                "Unsupported JOIN operator ArrayJoin(Ident { a: 1 })",
                "JOIN operator ArrayJoin is not \
              supported",
            ),
            (
                "Cannot get result type for temporal operation Interval(MonthDayNano) * Int64: \
                 Invalid argument error",
                "there is no INTERVAL * BIGINT; cast or compute what it is given",
            ),
            ("a (b) c", "a (b) c"),
            (
                "Internal error: lost.\nThis issue was likely caused by a bug in DataFusion.",
                "Internal error: lost",
            ),
        ] {
            assert_eq!(reworded(message), expected);
        }
    }
}
