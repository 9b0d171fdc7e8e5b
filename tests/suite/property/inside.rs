//! What stands above an aggregate and stays inside one window: the same text on both sides.

use proptest::prelude::*;

use super::chain::{Program, Relation};

/// A question about the rows of two views of the same windows, or of one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Nothing,
    Having,
    OrderBy,
    TopN,
    Ranked,
    Share,
    Again,
    Distinct,
    Inner,
    Left,
    Right,
    Union,
    Scalar,
    Exists,
    NotExists,
    In,
    NotIn,
    /// At least as much as any of the others.
    All,
    /// Neither of some keys nor of none that is known, or with a value.
    NotInOr,
    Full,
}

pub fn drawn_link() -> impl Strategy<Value = Link> {
    use Link::*;
    let links = vec![
        Having, OrderBy, TopN, Ranked, Share, Again, Distinct, Inner, Left, Right, Union, Scalar,
        Exists, NotExists, In, NotIn, All, NotInOr, Full,
    ];
    prop_oneof![1 => Just(Nothing), 2 => proptest::sample::select(links)]
}

impl Link {
    /// Whether it needs whole windows, and so makes them of a stream's rows.
    pub fn is_closed(self) -> bool {
        !matches!(self, Self::Nothing | Self::Having | Self::OrderBy)
    }

    /// Whether it takes a second view.
    pub fn is_of_two(self) -> bool {
        use Link::*;
        matches!(
            self,
            Inner
                | Left
                | Right
                | Union
                | Scalar
                | Exists
                | NotExists
                | In
                | NotIn
                | All
                | NotInOr
                | Full
        )
    }

    /// Adds the view `name` to both sides of `program`.
    pub fn above(self, program: &mut Program, name: &str, a: Relation, b: &Relation) -> Relation {
        if self == Self::Nothing {
            return a;
        }
        let (sql, more) = self.sql(&a, b);
        match self {
            // Plain DataFusion takes one pair of columns only: what it means, for the reference.
            Self::NotIn => program.view_said(name, &sql, &not_in(&a, b, "")),
            Self::NotInOr => program.view_said(name, &sql, &not_in(&a, b, " OR a.x = 1")),
            _ => program.view(name, &sql),
        }
        Relation { name: name.to_owned(), more, ..a }
    }

    /// Its text, and the columns in addition to those of every view.
    fn sql(self, a: &Relation, b: &Relation) -> (String, Vec<String>) {
        use Link::{Again, Distinct, Full, Inner, Left, Right, Scalar, Share, Union};
        let makes =
            matches!(self, Again | Distinct | Full | Inner | Left | Right | Scalar | Share | Union);
        let more = if makes { vec![] } else { a.more.clone() };
        let sql = if self.is_of_two() { self.of_two(a, b) } else { self.of_one(a) };
        (sql, more)
    }

    fn of_one(self, a: &Relation) -> String {
        let window = a.window.join(", ");
        let view = &a.name;
        let all = a.columns().join(", ");
        match self {
            Self::Having => format!("SELECT {all} FROM {view} WHERE x > 1 OR f IS NULL"),
            Self::OrderBy => format!("SELECT {all} FROM {view} ORDER BY x DESC, {window}"),
            Self::TopN => format!(
                "SELECT {all} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {window} ORDER BY {all}) \
                 AS n FROM {view}) WHERE n <= 2"
            ),
            Self::Ranked => format!(
                "SELECT {all} FROM (SELECT *, DENSE_RANK() OVER (PARTITION BY {window}, k ORDER BY x \
                 DESC) AS n FROM {view}) WHERE n = 1"
            ),
            Self::Share => format!(
                "SELECT {window}, k, d, count(*) OVER (PARTITION BY {window}) AS x, \
                 sum(f) OVER (PARTITION BY {window}, k) AS f, \
                 CAST(rank() OVER (PARTITION BY {window} ORDER BY x) AS BIGINT) AS id FROM {view}"
            ),
            Self::Again => format!(
                "SELECT {window}, k, max(d) AS d, count(*) AS x, sum(f) AS f, min(id) AS id \
                 FROM {view} GROUP BY {window}, k"
            ),
            Self::Distinct => format!(
                "SELECT {window}, k, d, x, f, 1 AS id FROM (SELECT DISTINCT {window}, k, d, x, f \
                 FROM {view})"
            ),
            _ => format!("SELECT {all} FROM {view}"),
        }
    }

    fn of_two(self, a: &Relation, b: &Relation) -> String {
        let all = a.columns().join(", ");
        let columns = a.interface().join(", ");
        let (view, other, same) = (&a.name, &b.name, same_window(a));
        match self {
            Self::Inner => joined("JOIN", a, b),
            Self::Left => joined("LEFT JOIN", a, b),
            Self::Right => joined("RIGHT JOIN", a, b),
            Self::Full => full(a, b),
            Self::Scalar => format!(
                "SELECT {}, a.k, a.d, (SELECT max(b.x) FROM {other} AS b WHERE {same}) AS x, a.f, a.id \
                 FROM {view} AS a",
                of(&a.window, "a"),
            ),
            Self::Exists | Self::NotExists => {
                let not = if self == Self::Exists { "" } else { "NOT " };
                format!(
                    "SELECT {all} FROM {view} AS a WHERE {not}EXISTS (SELECT 1 FROM {other} AS b WHERE \
                     {same} AND b.x > a.x)"
                )
            }
            Self::In | Self::NotIn => {
                let not = if self == Self::In { "" } else { "NOT " };
                format!(
                    "SELECT {all} FROM {view} AS a WHERE a.k {not}IN (SELECT b.k FROM {other} AS b \
                     WHERE {same} AND b.x > 1)"
                )
            }
            Self::NotInOr => format!(
                "SELECT {all} FROM {view} AS a WHERE a.k NOT IN (SELECT b.k FROM {other} AS b WHERE \
                 {same} AND b.x > 1) OR a.x = 1"
            ),
            Self::All => format!(
                "SELECT {all} FROM {view} AS a WHERE a.x >= ALL (SELECT b.x FROM {other} AS b WHERE \
                 {same})"
            ),
            _ => format!(
                "SELECT {columns} FROM {view} UNION ALL SELECT {columns} FROM {other} WHERE x > 1"
            ),
        }
    }
}

fn not_in(a: &Relation, b: &Relation, or: &str) -> String {
    format!(
        "SELECT {} FROM {} AS a WHERE NOT EXISTS (SELECT 1 FROM {} AS b WHERE {} AND b.x > 1 AND (a.k \
         IS NULL OR b.k IS NULL OR a.k = b.k)){or}",
        a.columns().join(", "),
        a.name,
        b.name,
        same_window(a)
    )
}

fn of(columns: &[String], table: &str) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("{table}.{column} AS {column}")).collect();
    columns.join(", ")
}

fn same_window(a: &Relation) -> String {
    let pairs: Vec<String> =
        a.window.iter().map(|column| format!("b.{column} = a.{column}")).collect();
    pairs.join(" AND ")
}

fn joined(kind: &str, a: &Relation, b: &Relation) -> String {
    let kept = if kind.starts_with("RIGHT") { "b" } else { "a" };
    format!(
        "SELECT {}, {kept}.k AS k, b.d AS d, a.x AS x, b.f AS f, {kept}.id AS id FROM {} AS a {kind} \
         {} AS b ON {} AND a.k = b.k",
        of(&a.window, kept),
        a.name,
        b.name,
        same_window(a)
    )
}

fn full(a: &Relation, b: &Relation) -> String {
    let window: Vec<String> = a.window.iter().map(|column| either(column)).collect();
    format!(
        "SELECT {}, {}, b.d AS d, a.x AS x, b.f AS f, {} FROM {} AS a FULL JOIN {} AS b ON {} AND \
         a.k = b.k",
        window.join(", "),
        either("k"),
        either("id"),
        a.name,
        b.name,
        same_window(a)
    )
}

fn either(column: &str) -> String {
    format!("coalesce(a.{column}, b.{column}) AS {column}")
}
