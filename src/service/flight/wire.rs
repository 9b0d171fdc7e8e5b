//! What goes over the wire: types that every client knows, every column nullable, so that the
//! schema that was declared is the schema of the rows, whatever the optimiser learns in between.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Result;

/// The schema as clients see it.
pub(super) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| Arc::new(Field::new(field.name(), wire_type(field.data_type()), true)))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The rows as clients see them; `schema` is that of [`wire_schema`].
pub(super) fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => Ok(cast(column, field.data_type())?),
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Views and dictionaries are how rows are kept in memory; not every driver reads them.
fn wire_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(wire_type(field.data_type())))
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, value) => wire_type(value.data_type()),
        DataType::List(item) | DataType::ListView(item) => DataType::List(inner(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(inner(item))
        }
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inner(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ListArray, StringArray, StringViewArray, StructArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn views_and_dictionaries_become_plain_at_any_depth_and_columns_nullable() {
        let views: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("a long enough text"), None]));
        let dictionary: ArrayRef = Arc::new(
            vec!["x", "y"]
                .into_iter()
                .collect::<datafusion::arrow::array::DictionaryArray<Int32Type>>(),
        );
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("v", DataType::Utf8View, true)),
            Arc::clone(&views),
        )]));
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::clone(&views), None));
        let fields = vec![
            Field::new("view", DataType::Utf8View, true),
            Field::new("dictionary", dictionary.data_type().clone(), false),
            Field::new("nested", nested.data_type().clone(), false),
            Field::new("list", list.data_type().clone(), false),
        ];
        let columns = vec![views, dictionary, nested, list];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let schema = wire_schema(&batch.schema());
        let sent = to_wire(&batch, &schema).unwrap();
        assert_eq!(sent.schema(), schema);
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
        let text = format!("{schema:?}");
        assert!(!text.contains("View") && !text.contains("Dictionary"), "{text}");
        let first = sent.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(first.value(0), "a long enough text");
    }
}
