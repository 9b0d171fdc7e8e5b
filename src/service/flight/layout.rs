//! The columns of a sink as its files have them and as its table shows them: a scan gives the
//! files' columns first and those of the path last, the table keeps the order of the job's query.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};

/// The columns of one sink.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// In the order of the query, each nullable: a file of an older version of the job may lack
    /// any of them.
    pub(super) table: SchemaRef,
    /// Those that are in the files.
    pub(super) file: SchemaRef,
    /// Those of the path, outermost first.
    pub(super) partition: Vec<FieldRef>,
    /// For each column of the table its position in a scan.
    order: Vec<usize>,
}

impl Layout {
    /// The layout of a sink that is partitioned by `partition_by`.
    pub(super) fn new(schema: &Schema, partition_by: &[String]) -> Result<Self> {
        let table = nullable(schema);
        let is_of_path = |field: &FieldRef| partition_by.contains(field.name());
        let file: Vec<FieldRef> =
            table.fields().iter().filter(|field| !is_of_path(field)).cloned().collect();
        let mut partition = Vec::with_capacity(partition_by.len());
        for name in partition_by {
            match table.column_with_name(name) {
                Some((at, _)) => partition.push(Arc::clone(&table.fields()[at])),
                None => return plan_err!("the sink lost its partition column {name}"),
            }
        }
        let scanned: Vec<&str> =
            file.iter().chain(&partition).map(|field| field.name().as_str()).collect();
        let order = table
            .fields()
            .iter()
            .filter_map(|field| scanned.iter().position(|name| name == field.name()))
            .collect();
        Ok(Self { table, file: Arc::new(Schema::new(file)), partition, order })
    }

    /// The positions in a scan of the table's columns at `projection`.
    pub(super) fn scanned(&self, projection: Option<&Vec<usize>>) -> Vec<usize> {
        match projection {
            Some(wanted) => wanted.iter().filter_map(|at| self.order.get(*at).copied()).collect(),
            None => self.order.clone(),
        }
    }
}

/// The schema with each column nullable.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn partition_columns_are_last_in_a_scan_and_in_their_place_in_the_table() {
        let schema = Schema::new(vec![
            Field::new("start", DataType::Int64, false),
            Field::new("tenant", DataType::Utf8, true),
            Field::new("n", DataType::Int64, false),
            Field::new("day", DataType::Utf8, true),
        ]);
        let layout = Layout::new(&schema, &["day".to_owned(), "tenant".to_owned()]).unwrap();
        assert_eq!(layout.scanned(None), [0, 3, 1, 2]);
        assert_eq!(layout.scanned(Some(&vec![3, 0])), [2, 0]);
        assert!(layout.table.fields().iter().all(|field| field.is_nullable()));
        assert!(Layout::new(&schema, &["gone".to_owned()]).is_err());
    }
}
