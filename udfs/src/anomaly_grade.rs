//! SQL `anomaly_grade(z)`: a z-score as a grade of 0 to 100.
//!
//! The scale is [`math::anomaly_grade`]; this file only maps columns over it.

use std::sync::LazyLock;

use datafusion::arrow::array::Float64Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_MATH;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::arguments::{check_count, coerce_to_doubles, doubles, shaped_as};
use crate::math;

const USAGE: &str = "anomaly_grade(z)";

/// Scalar `anomaly_grade(z)`: any number in, a double of 0 to 100 out.
///
/// NULL and NaN give NULL; an infinite score gives 100; the sign of `z` does not matter. The
/// scale is that of [`math::anomaly_grade`]: 50 is one in 1,024 of a normal population.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct AnomalyGrade {
    signature: Signature,
}

impl Default for AnomalyGrade {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AnomalyGrade {
    fn name(&self) -> &str {
        "anomaly_grade"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types.len(), 1, 1)?;
        coerce_to_doubles(USAGE, types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_count(USAGE, args.args.len(), 1, 1)?;
        let columns = doubles(&args.args, args.number_rows)?;
        let grades: Float64Array =
            columns[0].iter().map(|z| z.and_then(math::anomaly_grade)).collect();
        shaped_as(&args.args, grades)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_MATH,
        "Grades a z-score from 0 to 100: 100 * (1 - p^(1/10)), where p is the two-sided tail of \
         the normal distribution beyond it. 50 is one in 1,024.",
        USAGE,
    )
    .with_argument("z", "A z-score, such as that of robust_zscore")
    .with_related_udf("robust_zscore")
    .build()
});

#[cfg(test)]
mod tests {
    use crate::testing::{context, doubles_of, error_of};

    #[tokio::test]
    async fn grades_columns_and_constants() {
        let context = context();
        let sql = "SELECT anomaly_grade(z) FROM (VALUES (0.0), (NULL), (-3.5), (1e9)) t(z)";
        let grades = doubles_of(&context, sql).await;
        assert_eq!(grades[0], Some(0.0));
        assert_eq!(grades[1], None);
        assert!((grades[2].unwrap() - 53.6).abs() < 0.1);
        assert_eq!(grades[3], Some(100.0));
        assert_eq!(doubles_of(&context, "SELECT anomaly_grade(NULL)").await, [None]);
        let sql = "SELECT anomaly_grade(CAST('NaN' AS DOUBLE))";
        assert_eq!(doubles_of(&context, sql).await, [None]);
        let sql = "SELECT anomaly_grade(CAST('-inf' AS DOUBLE))";
        assert_eq!(doubles_of(&context, sql).await, [Some(100.0)]);
        let sql = "SELECT anomaly_grade(z) FROM (VALUES (0)) t(z) WHERE z > 1";
        assert_eq!(doubles_of(&context, sql).await, []);
    }

    #[tokio::test]
    async fn wrong_arguments_are_named() {
        let context = context();
        let error = error_of(&context, "SELECT anomaly_grade('high')").await;
        assert!(error.contains("anomaly_grade(z): argument 1 is Utf8"), "{error}");
        let error = error_of(&context, "SELECT anomaly_grade(1, 2)").await;
        assert!(error.contains("takes 1 arguments, not 2"), "{error}");
    }
}
