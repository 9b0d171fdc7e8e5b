//! Drawn questions about the rows of each window, and their text: as a view of a job in any of the
//! window forms, and as plain SQL over rows that were joined with their windows.
//!
//! Every view has the same columns, so that any may follow any: the window's (`ws`, `we`, `wt`, some
//! of them), then `k`, `d`, `x`, `f`, `id` as a source has them, and what the last one adds.

use proptest::prelude::*;

use super::chain::{Program, Relation};
use super::reference::Step;
use super::windows::{DrawnWindow, Spelling};

/// What is asked of the rows of a window.
#[derive(Debug, Clone)]
pub struct DrawnBody {
    kind: Kind,
    keys: &'static [(&'static str, &'static str)],
    sets: bool,
    aggregates: Vec<&'static str>,
    /// Of the columns that are no key: which aggregate makes them.
    makes: usize,
    below: Option<&'static str>,
    condition: Option<&'static str>,
    /// Reads the window's columns in an aggregate, so that panes cannot be used.
    reads_window: bool,
}

/// An aggregate, or the windowed rows themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aggregate,
    Rows,
    FirstRows,
    FirstOfKey,
    RankedRows,
    DistinctRows,
}

/// The columns that every view has after its window's.
pub const COLUMNS: [&str; 5] = ["k", "d", "x", "f", "id"];

/// `{o}` is a total order of the input, `{r}` its reverse.
const AGGREGATES: [&str; 26] = [
    "count(*)",
    "count(x)",
    "sum(x)",
    "min(x)",
    "max(d)",
    "avg(x)",
    "sum(f)",
    "avg(f)",
    "count(DISTINCT d)",
    "count(DISTINCT x)",
    "sum(DISTINCT x)",
    "median(x)",
    "median(f)",
    "bit_xor(x)",
    "bool_or(x > 2)",
    "approx_distinct(x)",
    "CAST(string_agg(d, ',' ORDER BY {o}) AS VARCHAR)",
    "first_value(x ORDER BY {o})",
    "last_value(d ORDER BY {r})",
    "array_to_string(array_agg(x ORDER BY {o}), ',')",
    "array_to_string(array_sort(array_agg(DISTINCT d)), ',')",
    "count(*) FILTER (WHERE x > 0)",
    "sum(f) FILTER (WHERE d = 'u' AND x IS NOT NULL)",
    // The offset keeps the rounding away from values that are halves in exact arithmetic, where
    // the last bit of a floating sum would decide.
    "CAST(round(least(var_pop(f), 1e9) * 10000 + 0.123456789) AS BIGINT)",
    "mad(x)",
    "entropy(d)",
];

/// For each column that is no key, aggregates of its type, exact in any order.
const MAKES: [(&str, [&str; 4]); 5] = [
    ("k", ["min(k)", "max(k)", "max(d)", "last_value(k ORDER BY {o})"]),
    (
        "d",
        [
            "max(d)",
            "first_value(d ORDER BY {o})",
            "min(d)",
            "array_to_string(array_sort(array_agg(DISTINCT d)), ',')",
        ],
    ),
    ("x", ["count(*)", "sum(x)", "max(x)", "count(DISTINCT d)"]),
    ("f", ["sum(f)", "min(f)", "max(f)", "sum(f) FILTER (WHERE x > 0)"]),
    ("id", ["min(id)", "max(id)", "sum(id)", "count(*) FILTER (WHERE id > 3)"]),
];

fn drawn_condition() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some("x > 0")),
        1 => Just(Some("k = 'a' OR d IN ('u', 'v')")),
        1 => Just(Some("f < 0 AND x IS NOT NULL")),
    ]
}

pub fn drawn_body() -> impl Strategy<Value = DrawnBody> {
    let kind = prop_oneof![
        8 => Just(Kind::Aggregate),
        1 => Just(Kind::Rows),
        1 => Just(Kind::FirstRows),
        1 => Just(Kind::FirstOfKey),
        1 => Just(Kind::RankedRows),
        1 => Just(Kind::DistinctRows),
    ];
    let keys = prop_oneof![
        1 => Just(&[] as &'static [(&str, &str)]),
        2 => Just(&[("k", "k")] as &[_]),
        1 => Just(&[("k", "k"), ("d", "d")] as &[_]),
        1 => Just(&[("d", "d")] as &[_]),
        1 => Just(&[("x % 3", "x")] as &[_]),
        1 => Just(&[("upper(k)", "k")] as &[_]),
    ];
    let aggregates = proptest::sample::subsequence(AGGREGATES.to_vec(), 0..4);
    let flags = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.2));
    let never = proptest::bool::weighted(0.02);
    (kind, keys, aggregates, 0_usize..4, drawn_condition(), drawn_condition(), flags, never)
        .prop_map(
            |(kind, keys, aggregates, makes, below, condition, (sets, reads_window), never)| {
                DrawnBody {
                    kind,
                    keys,
                    sets: sets && keys.len() > 1,
                    aggregates,
                    makes,
                    below,
                    condition: if never { Some("1 = 0") } else { condition },
                    reads_window,
                }
            },
        )
}

impl DrawnBody {
    /// Whether its rows are those of closed windows; otherwise they are those of a stream.
    pub fn is_closed(&self, window: &DrawnWindow) -> bool {
        self.kind_in(window) != Kind::Rows
    }

    /// Windows of GROUP BY have no rows of their own.
    fn kind_in(&self, window: &DrawnWindow) -> Kind {
        if window.is_table_function() { self.kind } else { Kind::Aggregate }
    }

    /// Adds the view `name` of the question over `input` to both sides of `program`.
    pub fn ask(
        &self,
        program: &mut Program,
        name: &str,
        window: &DrawnWindow,
        input: &Relation,
        waits_for: &'static [&'static str],
    ) -> Relation {
        let mut input = input.clone();
        if let Some(below) = self.below {
            let view = format!("{name}_below");
            program.view(&view, &format!("SELECT * FROM {} WHERE {below}", input.name));
            input.name = view;
        }
        let time = input.time.clone();
        let (job, reference) = match window.is_table_function() {
            true => {
                let relation = window.relation(&input.name, &time);
                let windows = format!("{name}_windows");
                program.steps.push(Step::Windows {
                    name: windows.clone(),
                    input: input.name.clone(),
                    time,
                    shift_us: 0,
                    family: window.family,
                    partition: window.partition.iter().map(|&by| by.to_owned()).collect(),
                    waits_for,
                });
                let select = |relation: &str| match self.kind {
                    Kind::Aggregate => self.grouped(relation, window, &input),
                    _ => self.rows(relation, window, &input),
                };
                (select(&relation), select(&windows))
            }
            false => self.by_expression(program, name, window, &input, waits_for),
        };
        program.views.push(format!("CREATE VIEW {name} AS {job}"));
        program.steps.push(Step::Query { name: name.to_owned(), sql: reference, said: None });
        let window_columns: Vec<String> =
            window.columns().iter().map(|(_, to)| (*to).to_owned()).collect();
        let more = match self.kind_in(window) {
            Kind::Aggregate => self.more(window, &input).into_iter().map(|(_, to)| to).collect(),
            _ => vec![],
        };
        let order = window_columns.iter().cloned().chain(COLUMNS.map(str::to_owned));
        Relation {
            name: name.to_owned(),
            time: window_columns[self.makes % window_columns.len()].clone(),
            order: order.collect::<Vec<_>>().join(", "),
            window: window_columns,
            more,
            is_source: false,
        }
    }

    /// A window of GROUP BY, in the job and over the rows of the windows.
    fn by_expression(
        &self,
        program: &mut Program,
        name: &str,
        window: &DrawnWindow,
        input: &Relation,
        waits_for: &'static [&'static str],
    ) -> (String, String) {
        let is_arroyo = window.spelling == Spelling::Arroyo;
        let (time, shift_us) = match is_arroyo {
            true => input.carried_time(),
            false => (input.time.clone(), 0),
        };
        let condition = self.condition_text();
        // Here WHERE comes before the windows, and sessions are by the grouping keys.
        let keyed = format!("{name}_keyed");
        let keys = self.keys.iter().enumerate().map(|(at, (key, _))| format!(", {key} AS by{at}"));
        let keys: String = keys.collect();
        let sql = format!("SELECT *{keys} FROM {}{condition}", input.name);
        program.steps.push(Step::Query { name: keyed.clone(), sql, said: None });
        let windows = format!("{name}_windows");
        program.steps.push(Step::Windows {
            name: windows.clone(),
            input: keyed,
            time,
            shift_us,
            family: window.family,
            partition: (0..self.keys.len()).map(|at| format!("by{at}")).collect(),
            waits_for,
        });
        let expression = window.expression(&input.time);
        let columns = self.columns(window, input);
        let inner = |expression: &str, relation: &str, condition: &str, outer: &str| {
            let by = self.group_by(&[expression], window);
            format!("SELECT {outer}{columns} FROM {relation}{condition} GROUP BY {by}")
        };
        if !is_arroyo {
            let job = inner(&expression, &input.name, &condition, &format!("{expression} AS ws, "));
            let reference = inner("window_start", &windows, "", "window_start AS ws, ");
            return (job, reference);
        }
        let outer = format!("{expression} AS w, ");
        let by = if self.makes.is_multiple_of(2) && !self.sets { "w" } else { expression.as_str() };
        let job = inner(by, &input.name, &condition, &outer);
        let names: Vec<String> = COLUMNS
            .iter()
            .map(|&name| name.to_owned())
            .chain(self.more_names(window, input))
            .collect();
        let told = window.columns();
        let fields: Vec<String> = told
            .iter()
            .map(|(from, to)| format!("{} AS {to}", from.replace("window_", "w.")))
            .collect();
        let job = format!("SELECT {}, {} FROM ({job}) AS s", fields.join(", "), names.join(", "));
        let outer = format!("{}, ", renamed(&told));
        let reference = inner("window_start, window_end", &windows, "", &outer);
        (job, reference)
    }

    fn grouped(&self, relation: &str, window: &DrawnWindow, input: &Relation) -> String {
        let told = window.columns();
        let from: Vec<&str> = told.iter().map(|(from, _)| *from).collect();
        let by = self.group_by(&from, window);
        format!(
            "SELECT {}, {} FROM {relation}{} GROUP BY {by}",
            renamed(&told),
            self.columns(window, input),
            self.condition_text()
        )
    }

    /// The windowed rows themselves.
    fn rows(&self, relation: &str, window: &DrawnWindow, input: &Relation) -> String {
        let told = window.columns();
        let window_columns = renamed(&told);
        let columns = COLUMNS.join(", ");
        let condition = self.condition_text();
        let from: Vec<&str> = told.iter().map(|(from, _)| *from).collect();
        let mut by = from.join(", ");
        if self.makes > 1 {
            by = format!("{by}, k");
        }
        let ranked = |rank: &str, order: &str| {
            format!(
                "SELECT {window_columns}, {columns} FROM (SELECT *, {rank}() OVER (PARTITION BY {by} \
                 ORDER BY {order}) AS n FROM {relation}{condition}) WHERE n <= 2"
            )
        };
        match self.kind {
            Kind::FirstRows => ranked("ROW_NUMBER", &input.order),
            // The views' own columns have the names that it gives to those of the next window.
            Kind::FirstOfKey if !input.is_source => ranked("ROW_NUMBER", &input.order),
            Kind::FirstOfKey => format!(
                "SELECT DISTINCT ON ({by}) {window_columns}, {columns} FROM {relation}{condition} \
                 ORDER BY {by}, {}",
                input.order
            ),
            Kind::RankedRows if self.makes.is_multiple_of(2) => ranked("DENSE_RANK", "x DESC"),
            Kind::RankedRows => ranked("RANK", "x"),
            Kind::DistinctRows => format!(
                "SELECT DISTINCT {window_columns}, k, d, x % 2 AS x, f, 1 AS id FROM \
                 {relation}{condition}"
            ),
            Kind::Rows | Kind::Aggregate => {
                format!("SELECT {window_columns}, {columns} FROM {relation}{condition}")
            }
        }
    }

    fn condition_text(&self) -> String {
        self.condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
    }

    /// What is selected beside the window's columns.
    fn columns(&self, window: &DrawnWindow, input: &Relation) -> String {
        let columns = MAKES.iter().map(|(name, aggregates)| {
            match self.keys.iter().find(|(_, known)| known == name) {
                Some((key, _)) => format!("{key} AS {name}"),
                None => format!("{} AS {name}", ordered(aggregates[self.makes], input)),
            }
        });
        let more =
            self.more(window, input).into_iter().map(|(expr, name)| format!("{expr} AS {name}"));
        columns.chain(more).collect::<Vec<_>>().join(", ")
    }

    fn more(&self, window: &DrawnWindow, input: &Relation) -> Vec<(String, String)> {
        let aggregates = self.aggregates.iter().enumerate();
        let mut more: Vec<(String, String)> = aggregates
            .map(|(at, aggregate)| (ordered(aggregate, input), format!("a{at}")))
            .collect();
        if self.is_by_sets(window) {
            more.push((format!("grouping({})", self.keys[0].0), "g".to_owned()));
        }
        if self.reads_window && window.is_table_function() {
            let counted = format!(
                "count(*) FILTER (WHERE {} < window_start + INTERVAL '5' SECOND)",
                input.time
            );
            more.push((counted, "r".to_owned()));
        }
        more
    }

    fn more_names(&self, window: &DrawnWindow, input: &Relation) -> Vec<String> {
        self.more(window, input).into_iter().map(|(_, name)| name).collect()
    }

    fn is_by_sets(&self, window: &DrawnWindow) -> bool {
        // The other keys decide what a session() is, so that there can be no sets of them.
        self.sets && (window.is_table_function() || !window.is_session())
    }

    fn group_by(&self, window_columns: &[&str], window: &DrawnWindow) -> String {
        let mut keys: Vec<String> =
            window_columns.iter().map(|&column| column.to_owned()).collect();
        if self.is_by_sets(window) {
            let told = keys.join(", ");
            let all: Vec<&str> = self.keys.iter().map(|(key, _)| *key).collect();
            return format!(
                "GROUPING SETS (({told}, {}), ({told}, {}), ({told}))",
                all.join(", "),
                all[0]
            );
        }
        keys.extend(self.keys.iter().map(|(key, _)| (*key).to_owned()));
        keys.join(", ")
    }
}

fn renamed(told: &[(&str, &str)]) -> String {
    let columns: Vec<String> = told.iter().map(|(from, to)| format!("{from} AS {to}")).collect();
    columns.join(", ")
}

fn ordered(aggregate: &str, input: &Relation) -> String {
    let reverse: Vec<String> =
        input.order.split(", ").map(|column| format!("{column} DESC")).collect();
    aggregate.replace("{o}", &input.order).replace("{r}", &reverse.join(", "))
}
