//! Conversion of a column through its nesting: the leaves are converted by the format, the
//! nesting is rebuilt to the declared type, and a leaf that does not fit is traced back to its
//! row and its dotted name.
//!
//! ```text
//! of the file                        as declared
//! struct                             struct, its fields by name at any depth
//! list, large, fixed or of views     list
//! map                                list of structs {key, value}, or a struct by its keys
//! dictionary, run-end encoded        whatever their values become
//! ```
//!
//! Nothing is ever taken by its position: a field that is not there is NULL.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::arrow::error::ArrowError;

use super::value::Unfit;

/// The names of a map's entries where they are declared as structs.
pub(super) const ENTRY: [&str; 2] = ["key", "value"];

/// Told the row, the reason and the message of each value that does not fit.
pub(super) type Report<'a> = &'a mut dyn FnMut(usize, Unfit, String);

/// Converts a column without nesting, of this dotted name, to the type given.
pub(super) type Leaf<'a> =
    &'a dyn Fn(&ArrayRef, &DataType, &str, Report<'_>) -> Result<ArrayRef, ArrowError>;

/// A value that does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The row of the batch, from 0.
    pub(super) row: usize,
    /// The column, dotted inside structs.
    pub(super) field: String,
    /// Why it does not fit.
    pub(super) unfit: Unfit,
    /// What is wrong, with the value.
    pub(super) message: String,
}

/// Converts `array` to the type of `field`; `path` is the column's name so far.
///
/// The error is for types that have no conversion.
pub(super) fn convert(
    array: &ArrayRef,
    field: &Field,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    use DataType::{
        Dictionary, FixedSizeList, LargeList, LargeListView, List, ListView, Map, RunEndEncoded,
        Struct,
    };
    if array.data_type() == field.data_type() && !holds_times(field.data_type()) {
        return Ok(array.clone());
    }
    match (array.data_type(), field.data_type()) {
        (Dictionary(..), _) => {
            let dictionary = array.as_any_dictionary();
            let values = take(dictionary.values(), dictionary.keys(), None)?;
            convert(&values, field, path, leaf, misfits)
        }
        (RunEndEncoded(_, value), _) => {
            convert(&cast(array, value.data_type())?, field, path, leaf, misfits)
        }
        (Struct(_), Struct(fields)) => structs(array.as_struct(), fields, path, leaf, misfits),
        (List(_), List(item)) => lists(array.as_list(), item, path, leaf, misfits),
        (
            LargeList(found) | FixedSizeList(found, _) | ListView(found) | LargeListView(found),
            List(item),
        ) => {
            // Only the layout changes: the elements keep their type, so no struct is touched.
            let list = cast(array, &List(found.clone()))?;
            lists(list.as_list(), item, path, leaf, misfits)
        }
        (Map(..), List(item)) => {
            let list = entries_as_list(array.as_map(), item)?;
            lists(&list, item, path, leaf, misfits)
        }
        (Map(..), Struct(fields)) => by_keys(array.as_map(), fields, path, leaf, misfits),
        (_, to) => {
            let mut report = |row, unfit, message| {
                misfits.push(Misfit { row, field: path.to_owned(), unfit, message });
            };
            leaf(array, to, path, &mut report)
        }
    }
}

/// Whether a type has times in it, whose values are held to the years that there are, also where
/// the type of the file is the declared one.
fn holds_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(..) | DataType::Date32 => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_times(field.data_type())),
        DataType::List(item) => holds_times(item.data_type()),
        _ => false,
    }
}

/// The dotted name of a field.
pub(super) fn dotted(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

fn structs(
    array: &StructArray,
    fields: &Fields,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    let mut inner = Vec::new();
    let mut columns = Vec::with_capacity(fields.len());
    for child in fields {
        columns.push(match array.column_by_name(child.name()) {
            Some(column) => convert(column, child, &dotted(path, child.name()), leaf, &mut inner)?,
            None => new_null_array(child.data_type(), array.len()),
        });
    }
    misfits.extend(inner.into_iter().filter(|misfit| array.is_valid(misfit.row)));
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?))
}

fn lists(
    array: &ListArray,
    item: &FieldRef,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
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

/// A map's entries as structs, named as `item` has them where it has the file's own names, and
/// else `key` and `value`.
fn entries_as_list(map: &MapArray, item: &Field) -> Result<ListArray, ArrowError> {
    let entries = map.entries();
    let fields: Fields = entries
        .fields()
        .iter()
        .zip(entry_names(entries.fields(), item.data_type()))
        .map(|(field, name)| Field::clone(field).with_name(name))
        .collect();
    let columns = entries.columns().to_vec();
    let entries = StructArray::try_new(fields.clone(), columns, entries.nulls().cloned())?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    ListArray::try_new(item, map.offsets().clone(), Arc::new(entries), map.nulls().cloned())
}

/// What the two fields of a map's entries are called in a struct of type `declared`.
pub(super) fn entry_names(found: &Fields, declared: &DataType) -> [String; 2] {
    let own = match declared {
        DataType::Struct(fields) => found.iter().any(|field| fields.find(field.name()).is_some()),
        _ => false,
    };
    match (own, found.iter().as_slice()) {
        (true, [key, value]) => [key.name().clone(), value.name().clone()],
        _ => ENTRY.map(str::to_owned),
    }
}

/// A map with keys of text as a struct: each field is the value of the key of its name, the last
/// of equal keys as in JSON.
fn by_keys(
    map: &MapArray,
    fields: &Fields,
    path: &str,
    leaf: Leaf<'_>,
    misfits: &mut Vec<Misfit>,
) -> Result<ArrayRef, ArrowError> {
    let keys = cast(map.keys(), &DataType::Utf8View)?;
    let keys = keys.as_string_view();
    let offsets = map.value_offsets();
    let mut inner = Vec::new();
    let mut columns = Vec::with_capacity(fields.len());
    for child in fields {
        let place = |row: usize| {
            let entries = offsets[row] as usize..offsets[row + 1] as usize;
            let is_key = |at: &usize| keys.is_valid(*at) && keys.value(*at) == child.name();
            entries.rev().find(is_key).map(|at| at as u64)
        };
        let places: UInt64Array = (0..map.len()).map(place).collect();
        let values = take(map.values(), &places, None)?;
        columns.push(convert(&values, child, &dotted(path, child.name()), leaf, &mut inner)?);
    }
    misfits.extend(inner.into_iter().filter(|misfit| map.is_valid(misfit.row)));
    let nulls = map.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, map.len())?))
}
