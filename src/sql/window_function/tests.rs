//! Windows among grouping expressions, as they look after analysis.

use super::super::fixture::plan;
use super::*;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;

const MINUTE: i64 = 60_000_000;

fn sessions(minutes: i64) -> Windows {
    Windows::Session(SessionShape::new(minutes * MINUTE).unwrap())
}

/// The windows among the grouping keys of the innermost aggregate of `query`'s plan, and whether
/// a window function is left anywhere but there.
async fn windows_of(query: &str) -> (Vec<WindowKey>, bool) {
    let plan = plan(query).await.unwrap_or_else(|error| panic!("{query}\n{error}"));
    let mut keys = Vec::new();
    let mut leftover = false;
    plan.apply(|plan| {
        if let LogicalPlan::Aggregate(aggregate) = plan {
            keys = aggregate
                .group_expr
                .iter()
                .filter_map(|expr| window_key(expr).unwrap_or_else(|error| panic!("{error}")))
                .collect();
        } else {
            leftover |= plan.expressions().iter().any(calls_window_function);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    (keys, leftover)
}

#[tokio::test]
async fn a_window_is_grouped_by_as_alias_position_or_expression() {
    for (call, windows) in [
        ("session(INTERVAL '2 minutes')", sessions(2)),
        ("SESSION(INTERVAL '2' MINUTE)", sessions(2)),
        (
            "tumble(INTERVAL '2 minutes')",
            Windows::Aligned(WindowShape::tumble(2 * MINUTE, 0).unwrap()),
        ),
        (
            "hop(INTERVAL '1 minute', INTERVAL '2 minutes')",
            Windows::Aligned(WindowShape::new(2 * MINUTE, MINUTE, 0).unwrap()),
        ),
    ] {
        for query in [
            format!("SELECT {call} AS w, src, count(*) AS n FROM flows GROUP BY 1, 2"),
            format!("SELECT {call} AS w, src, count(*) AS n FROM flows GROUP BY w, src"),
            format!("SELECT {call} AS w, src, count(*) AS n FROM flows GROUP BY {call}, src"),
            format!("SELECT {call}, count(*) AS n FROM flows GROUP BY {call} HAVING count(*) > 1"),
            format!("SELECT count(*) AS n FROM flows GROUP BY src, {call}"),
        ] {
            let (keys, leftover) = windows_of(&query).await;
            let expected = WindowKey { windows, time: None, value: WindowValue::Struct };
            assert_eq!(keys, [expected], "{query}");
            assert!(!leftover, "{query}");
        }
    }
}

#[tokio::test]
async fn start_and_end_of_a_window_need_no_quotes() {
    let grouped = "SELECT session(INTERVAL '2 minutes') AS w, src, count(*) AS n FROM flows \
                   GROUP BY 1, src";
    for query in [
        format!("SELECT w.end, w.start, n FROM ({grouped}) AS v"),
        format!("SELECT v.w.end, v.w.start FROM ({grouped}) AS v"),
        format!(
            "SELECT n FROM ({grouped}) AS v WHERE w.end > TIMESTAMP '2026-01-01' ORDER BY w.end"
        ),
        format!(
            "SELECT n FROM ({grouped}) AS v WHERE v.w.end > v.w.start ORDER BY v.w.end, w.start"
        ),
        format!("SELECT CASE WHEN w.end > w.start THEN w.end END AS end FROM ({grouped}) AS v"),
        format!(
            "SELECT date_trunc('hour', w.end) AS hour, max(n) FROM ({grouped}) AS v GROUP BY 1"
        ),
    ] {
        let (keys, leftover) = windows_of(&query).await;
        assert_eq!(keys.len(), 1, "{query}");
        assert!(!leftover, "{query}");
    }
}

#[tokio::test]
async fn a_window_outside_of_group_by_is_found() {
    for function in WINDOW_FUNCTIONS {
        let query = format!("SELECT {function}(INTERVAL '1 minute') AS w FROM flows");
        assert!(windows_of(&query).await.1, "{query}");
    }
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    use datafusion::logical_expr::lit;
    let minute = || lit(ScalarValue::new_interval_mdn(0, 0, MINUTE * 1_000));
    let call = |name: &'static str, args: Vec<Expr>| {
        window_key(&ScalarUDF::from(WindowFunction::new(name)).call(args)).unwrap_err().to_string()
    };
    for (said, expected) in [
        (call(SESSION, vec![]), "session takes one gap: session(INTERVAL '5' MINUTE)"),
        (call(SESSION, vec![minute(), minute()]), "session takes one gap"),
        (call(SESSION, vec![lit(5_i64)]), "5 is not an interval; write INTERVAL '1' MINUTE"),
        (
            call(SESSION, vec![lit(ScalarValue::new_interval_mdn(1, 0, 0))]),
            "months and years have no fixed length",
        ),
        (
            call(SESSION, vec![lit(ScalarValue::new_interval_mdn(0, 0, 0))]),
            "the session's gap must be at least one millisecond",
        ),
        (call(TUMBLE, vec![]), "tumble takes one length"),
        (call(HOP, vec![minute()]), "hop takes a slide and a size, both intervals"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}
