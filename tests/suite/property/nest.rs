//! Drawn queries inside queries, that use a few names again and again: each level gives the columns
//! that every view has, made of those of the level below, often by the very same expressions.
//!
//! The job has them without names for the inner queries, or all with one. DataFusion as the reference
//! has a name of its own for each, for without names it takes levels that read alike for one.

use proptest::prelude::*;

use super::chain::{Program, Relation};

/// Levels, the innermost first.
#[derive(Debug, Clone)]
pub struct DrawnNest {
    levels: Vec<Level>,
    /// Whether the job's inner queries are all called the same instead of having no name.
    is_named: bool,
}

/// One level: for each column of [`MADE`] one of its expressions.
#[derive(Debug, Clone)]
struct Level {
    made: Vec<usize>,
    condition: Option<&'static str>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rows,
    Distinct,
    Groups,
}

/// What a level may make of each column. Floats stay dyadic, so that sums of them are exact.
const MADE: [(&str, [&str; 8]); 5] = [
    ("k", ["k", "k", "k", "d", "upper(k)", "coalesce(k, d)", "concat(k, d)", "nullif(k, d)"]),
    ("d", ["d", "d", "d", "k", "lower(d)", "coalesce(d, k)", "substr(d, 1, 1)", "nullif(d, 'u')"]),
    (
        "x",
        [
            "x",
            "x + x",
            "x + x",
            "x - 1",
            "abs(x)",
            "coalesce(x, id)",
            "CASE WHEN x > 1 THEN x ELSE 1 - x END",
            "nullif(x, 2)",
        ],
    ),
    (
        "f",
        [
            "f",
            "f + f",
            "f - 1.5",
            "-f",
            "f / 2",
            "abs(f)",
            "CASE WHEN x > 0 THEN f END",
            "CASE WHEN f > 0 THEN f ELSE f + f END",
        ],
    ),
    ("id", ["id", "id", "id", "x", "id + x", "coalesce(x, id)", "0 - id", "x + x"]),
];

/// Aggregates of the same columns under their own names, and what HAVING asks of them.
const GROUPED: &str = "max(d) AS d, sum(x) AS x, min(f) AS f, max(id) AS id";
const HAVING: [&str; 3] = ["sum(x) > 1", "max(x) > 0 OR min(x) IS NULL", "count(d) > 0"];

fn drawn_level() -> impl Strategy<Value = Level> {
    let condition = prop_oneof![
        4 => Just(None),
        1 => Just(Some("x > 0 OR x IS NULL")),
        1 => Just(Some("x + x <> 2")),
        1 => Just(Some("k = 'a' OR d IN ('u', 'v')")),
    ];
    let kind = prop_oneof![
        6 => Just(Kind::Rows),
        1 => Just(Kind::Distinct),
        1 => Just(Kind::Groups),
    ];
    (proptest::collection::vec(0_usize..8, MADE.len()), condition, kind)
        .prop_map(|(made, condition, kind)| Level { made, condition, kind })
}

pub fn drawn_nest() -> impl Strategy<Value = DrawnNest> {
    let levels = proptest::collection::vec((drawn_level(), proptest::bool::weighted(0.5)), 1..5);
    (levels, proptest::bool::weighted(0.2)).prop_map(|(drawn, is_named)| {
        let mut levels: Vec<Level> = Vec::new();
        for (level, is_repeated) in drawn {
            let before = levels.last().filter(|_| is_repeated).cloned();
            levels.push(before.unwrap_or(level));
        }
        DrawnNest { levels, is_named }
    })
}

impl DrawnNest {
    /// Adds the view `name` over `input`, whose rows are those of closed windows or of a stream.
    pub fn above(
        &self,
        program: &mut Program,
        name: &str,
        input: Relation,
        is_closed: bool,
    ) -> Relation {
        let changed: Vec<&str> = MADE.iter().map(|(column, _)| *column).collect();
        let groups = |level: &Level| is_closed && level.kind == Kind::Groups;
        let loses_more = self.levels.iter().any(groups);
        let mut kept = input.window.clone();
        kept.extend(input.more.iter().filter(|_| !loses_more).cloned());
        self.add(program, name, &input.name, (&kept, &changed, is_closed));
        let more = if loses_more { vec![] } else { input.more };
        Relation { name: name.to_owned(), more, ..input }
    }

    /// Adds the view `name` over `input`, below a window: its rows, and what tells them apart, are kept.
    pub fn below(&self, program: &mut Program, name: &str, input: &Relation) -> Relation {
        let columns = input.columns();
        let changed = ["k", "d", "x", "f"];
        let mut kept: Vec<String> =
            columns.into_iter().filter(|column| !changed.contains(&column.as_str())).collect();
        if input.is_source {
            kept.push(input.time.clone());
        }
        self.add(program, name, &input.name, (&kept, &changed, false));
        Relation { name: name.to_owned(), ..input.clone() }
    }

    fn add(&self, program: &mut Program, name: &str, input: &str, columns: Columns<'_>) {
        let is_named = self.is_named;
        let job = self.sql(input, columns, &|_| if is_named { " AS s" } else { "" }.to_owned());
        let reference = self.sql(input, columns, &|level| format!(" AS s{level}"));
        program.view_said(name, &job, &reference);
    }

    fn sql(&self, input: &str, columns: Columns<'_>, alias: &dyn Fn(usize) -> String) -> String {
        let mut from = input.to_owned();
        for (at, level) in self.levels.iter().enumerate() {
            let sql = level.sql(&from, columns);
            let is_last = at + 1 == self.levels.len();
            from = if is_last { sql } else { format!("({sql}){}", alias(at)) };
        }
        from
    }
}

/// The columns that a level gives on, those that it makes anew, and whether its rows may be put
/// together.
type Columns<'a> = (&'a [String], &'a [&'a str], bool);

impl Level {
    fn sql(&self, from: &str, (kept, changed, is_closed): Columns<'_>) -> String {
        let condition =
            self.condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let kept = kept.join(", ");
        if is_closed && self.kind == Kind::Groups {
            let having = HAVING[self.made[0] % HAVING.len()];
            return format!(
                "SELECT {kept}, k, {GROUPED} FROM {from}{condition} GROUP BY {kept}, k HAVING {having}"
            );
        }
        let made = MADE.iter().zip(&self.made).filter(|((column, _), _)| changed.contains(column));
        let made: Vec<String> = made
            .map(|((column, exprs), at)| match exprs[*at] {
                same if same == *column => same.to_owned(),
                expr => format!("{expr} AS {column}"),
            })
            .collect();
        let distinct = if is_closed && self.kind == Kind::Distinct { "DISTINCT " } else { "" };
        format!("SELECT {distinct}{kept}, {} FROM {from}{condition}", made.join(", "))
    }
}
