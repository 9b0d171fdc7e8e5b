//! Conversion of a column through structs and lists: the leaves are converted by the
//! format, the nesting is rebuilt to the declared type, and a leaf that does not fit is
//! traced back to its row and its dotted name.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::error::ArrowError;

/// Told the row and the message of each value that does not fit.
pub(super) type Report<'a> = &'a mut dyn FnMut(usize, String);

/// Converts a column without nesting to the type given.
pub(super) type Leaf<'a> =
    &'a dyn Fn(&ArrayRef, &DataType, Report<'_>) -> Result<ArrayRef, ArrowError>;

/// A value that does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The row of the batch, from 0.
    pub(super) row: usize,
    /// The column, dotted inside structs.
    pub(super) field: String,
    /// What is wrong, with the value.
    pub(super) message: String,
}

/// Converts `array` to the type of `field`; `path` is the column's name so far.
///
/// Fields of a struct are taken by name: what is missing is NULL, what is more is dropped.
/// The error is for types that have no conversion.
pub(super) fn convert(
    array: &ArrayRef,
    field: &Field,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    match (array.data_type(), field.data_type()) {
        (DataType::Struct(_), DataType::Struct(_)) => {
            structs(array.as_struct(), field, path, leaf, misfits)
        }
        (DataType::List(_), DataType::List(_)) => {
            lists(array.as_list(), field, path, leaf, misfits)
        }
        (_, to) => {
            let mut report = |row, message| {
                misfits.push(Misfit { row, field: path.to_owned(), message });
            };
            leaf(array, to, &mut report)
        }
    }
}

fn structs(
    array: &StructArray,
    field: &Field,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = field.data_type() else {
        return Ok(Arc::new(array.clone()));
    };
    let mut inner = Vec::new();
    let mut columns = Vec::with_capacity(fields.len());
    for child in fields {
        columns.push(match array.column_by_name(child.name()) {
            Some(column) => {
                convert(column, child, &format!("{path}.{}", child.name()), leaf, &mut inner)?
            }
            None => new_null_array(child.data_type(), array.len()),
        });
    }
    misfits.extend(inner.into_iter().filter(|misfit| array.is_valid(misfit.row)));
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?))
}

fn lists(
    array: &ListArray,
    field: &Field,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    let DataType::List(item) = field.data_type() else {
        return Ok(Arc::new(array.clone()));
    };
    let mut inner = Vec::new();
    let values = convert(array.values(), item, path, leaf, &mut inner)?;
    let offsets = array.value_offsets();
    for misfit in inner {
        let after = offsets.partition_point(|offset| *offset as usize <= misfit.row);
        // Values before the first and after the last offset belong to no list.
        if after > 0 && after < offsets.len() && array.is_valid(after - 1) {
            misfits.push(Misfit { row: after - 1, ..misfit });
        }
    }
    let nulls = array.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(item.clone(), array.offsets().clone(), values, nulls)?))
}
