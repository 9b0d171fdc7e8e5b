//! The function that is put around the columns that a sink is partitioned by: it gives the value as it
//! is, and fails for one that no folder can be called by.
//!
//! A value that is too long would be found out when its file is published, and fail every attempt at
//! its epoch. In the plan it costs its row, as any other expression does that cannot be computed.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use tidegauge_commitlog::names::{FOLDER_BYTES_MAX, partition_folder};

pub(super) const FOLDER_VALUE: &str = "__folder_value";

/// Most bytes that one byte of a name or value becomes.
const BYTES_OF_ONE: usize = 3;
const VALUE_BYTES_SHOWN: usize = 40;

/// The function, for the registry.
pub(super) fn folder_value() -> ScalarUDF {
    ScalarUDF::from(FolderValue { signature: Signature::any(2, Volatility::Immutable) })
}

/// `value` of `schema`, which fails where no folder of the column `name` can be called by it.
///
/// # Errors
/// When it is no column of the schema, which is a defect.
pub fn folder_value_expr(
    value: Arc<dyn PhysicalExpr>,
    name: &str,
    schema: &Schema,
    options: &Arc<ConfigOptions>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let args = vec![value, lit(name)];
    let (function, options) = (Arc::new(folder_value()), Arc::clone(options));
    Ok(Arc::new(ScalarFunctionExpr::try_new(function, args, schema, options)?))
}

/// Whether there are values of this type that no folder can be called by: those of other types are
/// short, and have a text each.
pub fn may_be_no_folder(data_type: &DataType) -> bool {
    !(data_type.is_numeric() || *data_type == DataType::Boolean)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FolderValue {
    signature: Signature,
}

impl ScalarUDFImpl for FolderValue {
    fn name(&self) -> &str {
        FOLDER_VALUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(value) => Ok(value.clone()),
            None => plan_err!("{FOLDER_VALUE} takes a value and a name"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields.first() {
            Some(value) => Ok(Arc::clone(value)),
            None => plan_err!("{FOLDER_VALUE} takes a value and a name"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(ScalarValue::Utf8(Some(name)))] = args.args.as_slice()
        else {
            return plan_err!("{FOLDER_VALUE} takes a value and a name");
        };
        let values = match value {
            ColumnarValue::Array(values) => Arc::clone(values),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let texts = cast(&values, &DataType::Utf8View)?;
        texts.as_string_view().iter().flatten().try_for_each(|text| check(name, text))?;
        Ok(value.clone())
    }
}

fn check(name: &str, value: &str) -> Result<()> {
    if (name.len() + value.len() + 1) * BYTES_OF_ONE <= FOLDER_BYTES_MAX {
        return Ok(());
    }
    let bytes = partition_folder(&[(name, Some(value))]).len();
    if bytes <= FOLDER_BYTES_MAX {
        return Ok(());
    }
    let shown: String = value.chars().take(VALUE_BYTES_SHOWN).collect();
    exec_err!(
        "{name}={shown}... has {bytes} bytes as the name of a folder, which may have \
         {FOLDER_BYTES_MAX}; shorten the value in the query, as by md5({name}) or left({name}, 20)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_long_as_its_folder_is_called() {
        check("tenant", &"a".repeat(248)).unwrap();
        let error = check("tenant", &"a".repeat(249)).unwrap_err().to_string();
        assert!(
            error.contains("has 256 bytes as the name of a folder, which may have 255"),
            "{error}"
        );
        // Each of its two bytes is written as three.
        check("tenant", &"ü".repeat(41)).unwrap();
        let error = check("tenant", &"ü".repeat(42)).unwrap_err().to_string();
        assert!(error.contains("has 259 bytes"), "{error}");
    }

    #[test]
    fn values_without_a_text_are_looked_at() {
        assert!(may_be_no_folder(&DataType::Binary) && may_be_no_folder(&DataType::Utf8View));
        assert!(may_be_no_folder(&super::super::time_type()));
        assert!(!may_be_no_folder(&DataType::Int64) && !may_be_no_folder(&DataType::Boolean));
    }
}
