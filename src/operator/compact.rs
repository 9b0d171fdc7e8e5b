//! Columns of views without what other rows left in them.
//!
//! A view of a text points into one of the buffers of its array. What `take`, `concat` and slices
//! give has all buffers of what they were given, needed or not, and twice those that two inputs
//! share. A merge whose rows come from the merge before would have twice the buffers, and one after
//! thirty such merges a thousand million.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

/// The same rows, whose columns hold nothing else.
pub fn compacted_rows(rows: &RecordBatch) -> Result<RecordBatch> {
    let columns = rows.columns().iter().map(compacted).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// The same values, in an array that holds nothing else. Arrays without views are as they were.
pub(super) fn compacted(array: &ArrayRef) -> Result<ArrayRef> {
    if !has_views(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    match array.data_type() {
        DataType::Utf8View => Ok(Arc::new(array.as_string_view().gc())),
        DataType::BinaryView => Ok(Arc::new(array.as_binary_view().gc())),
        _ => {
            let data = array.to_data();
            let children = data.child_data().iter().map(|child| make_array(child.clone()));
            let children = children.map(|child| Ok(compacted(&child)?.to_data()));
            let children = children.collect::<Result<_>>()?;
            Ok(make_array(data.into_builder().child_data(children).build()?))
        }
    }
}

fn has_views(of: &DataType) -> bool {
    match of {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_views(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_views(field.data_type())),
        DataType::Dictionary(_, values) => has_views(values),
        DataType::RunEndEncoded(_, values) => has_views(values.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ListArray, StringViewArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::compute::concat;
    use datafusion::arrow::datatypes::Field;

    use super::*;

    const LONG: &str = "longer than what fits into a view";

    fn doubled(mut array: ArrayRef, times: usize) -> ArrayRef {
        for _ in 0..times {
            array = concat(&[&array, &array]).unwrap().slice(0, array.len());
        }
        array
    }

    fn listed(values: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        let offsets = OffsetBuffer::from_lengths([2, values.len() - 2]);
        Arc::new(ListArray::new(field, offsets, values, None))
    }

    #[test]
    fn what_was_doubled_many_times_is_one_buffer_of_the_same_values() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some(LONG), None, Some("b")]));
        let many = doubled(Arc::clone(&texts), 10);
        assert_eq!(many.as_string_view().data_buffers().len(), 1_024);
        let few = compacted(&many).unwrap();
        assert_eq!((few.as_string_view().data_buffers().len(), &few), (1, &texts));
    }

    #[test]
    fn views_inside_others_are_compacted_and_slices_stay_slices() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some(LONG), None, Some(LONG)]));
        let lists = listed(doubled(texts, 10)).slice(1, 1);
        let few = compacted(&lists).unwrap();
        assert_eq!(&few, &lists);
        assert_eq!(few.as_list::<i32>().values().as_string_view().data_buffers().len(), 1);
    }
}
