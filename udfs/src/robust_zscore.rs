//! SQL `robust_zscore(x, median, mad [, floor])`: the modified z-score.
//!
//! The formula and its answer for a constant population are [`math::robust_zscore`]; this file
//! only maps columns over it.

use std::sync::LazyLock;

use datafusion::arrow::array::{Array, Float64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::arguments::{check_count, coerce_to_doubles, doubles, shaped_as};
use crate::math;

const USAGE: &str = "robust_zscore(x, median, mad [, floor])";

/// Scalar `robust_zscore(x, median, mad [, floor])`: numbers of one unit in, a double without
/// unit out.
///
/// `0.6745 * (x - median) / max(mad, floor)` (Iglewicz and Hoaglin 1993). NULL when an argument
/// is NULL or NaN, or `mad` or `floor` is negative. When `mad` is 0 and there is no `floor`, the
/// relative departure held within -5 and 5, as [`math::robust_zscore`] explains.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct RobustZscore {
    signature: Signature,
}

impl Default for RobustZscore {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RobustZscore {
    fn name(&self) -> &str {
        "robust_zscore"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types.len(), 3, 4)?;
        coerce_to_doubles(USAGE, types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_count(USAGE, args.args.len(), 3, 4)?;
        let columns = doubles(&args.args, args.number_rows)?;
        let scores: Float64Array = (0..args.number_rows).map(|row| score(&columns, row)).collect();
        shaped_as(&args.args, scores)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn score(columns: &[Float64Array], row: usize) -> Option<f64> {
    if columns.iter().any(|column| column.is_null(row)) {
        return None;
    }
    let floor = columns.get(3).map_or(0.0, |column| column.value(row));
    math::robust_zscore(columns[0].value(row), columns[1].value(row), columns[2].value(row), floor)
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_MATH,
        "Modified z-score 0.6745 * (x - median) / max(mad, floor) (Iglewicz and Hoaglin 1993). \
         When mad is 0 and no floor is given: 0 for x = median, else 5 * (x - median) / \
         max(|x|, |median|), held within -5 and 5.",
        USAGE,
    )
    .with_argument("x", "The value to score")
    .with_argument("median", "Median of its population, in the unit of x")
    .with_argument("mad", "Raw median absolute deviation of its population, as of mad(x)")
    .with_argument("floor", "Optional: the least deviation that matters, in the unit of x")
    .with_related_udf("mad")
    .with_related_udf("anomaly_grade")
    .build()
});

#[cfg(test)]
mod tests {
    use crate::testing::{context, doubles_of, error_of};

    #[tokio::test]
    async fn scores_columns_and_constants() {
        let context = context();
        let sql = "SELECT robust_zscore(x, 10, m) FROM (VALUES (13, 2), (10, 0), (20, 0), \
                   (NULL, 2), (1, NULL)) t(x, m)";
        let scores = doubles_of(&context, sql).await;
        assert_eq!(scores, [Some(0.6745 * 1.5), Some(0.0), Some(2.5), None, None]);
        let constant = doubles_of(&context, "SELECT robust_zscore(13, 10.0, 2)").await;
        assert_eq!(constant, [Some(0.6745 * 1.5)]);
        let sql = "SELECT robust_zscore(x, 10, 2) FROM (VALUES (1)) t(x) WHERE x > 1";
        assert_eq!(doubles_of(&context, sql).await, []);
    }

    #[tokio::test]
    async fn floor_holds_the_spread_up() {
        let sql = "SELECT robust_zscore(x, 0, 0, f) FROM (VALUES (3, 6.745), (3, NULL)) t(x, f)";
        assert_eq!(doubles_of(&context(), sql).await, [Some(0.3), None]);
    }

    #[tokio::test]
    async fn scores_a_member_against_its_population() {
        let sql = "SELECT robust_zscore(x, median(x) OVER (), mad(x) OVER ()) \
                   FROM (VALUES (1.0), (1.0), (2.0), (2.0), (4.0), (6.0), (9.0)) t(x) ORDER BY x";
        let scores = doubles_of(&context(), sql).await;
        assert_eq!(scores[0], Some(-0.6745));
        assert_eq!(scores[6], Some(0.6745 * 7.0));
    }

    #[tokio::test]
    async fn wrong_arguments_are_named() {
        let context = context();
        let error = error_of(&context, "SELECT robust_zscore(1, now(), 2)").await;
        assert!(error.contains("argument 2 is Timestamp"), "{error}");
        let error = error_of(&context, "SELECT robust_zscore(1, 2)").await;
        assert!(error.contains("takes 3 to 4 arguments, not 2"), "{error}");
    }
}
