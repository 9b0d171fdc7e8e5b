//! `named_struct` in the place of DataFusion's own, which says of itself that a field taken from
//! the struct is the value that was put in.
//!
//! DataFusion 55 takes rows for partitioned by such a field while one projection makes the struct and
//! another takes the field. Then it merges the two, after it has settled where rows are shuffled, no
//! longer sees it, and refuses its own plan: that of a join or a UNION ALL over `w.start`. Without the
//! promise the rows are shuffled by the field.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::core::named_struct::NamedStructFunc;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, lit,
};
use std::sync::Arc;

/// The function, for the registry.
pub(super) fn struct_function() -> ScalarUDF {
    ScalarUDF::from(NamedStruct { inner: NamedStructFunc::new() })
}

/// The struct that a window is in GROUP BY, of its bounds.
pub fn window_struct(start: Expr, end: Expr) -> Expr {
    let args = vec![lit("start"), start, lit("end"), end];
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(struct_function()), args))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NamedStruct {
    inner: NamedStructFunc,
}

impl ScalarUDFImpl for NamedStruct {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
